"""`swarm-cli topics ...`: compare the cluster's topics with those that the application declares."""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm_cli.configuration import Configuration
from swarm_cli.errors import CommandError, UsageError, advised, complain, sentence
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import say_json
from swarm_cli.options import TOPICS, AsJson, registered
from swarm_cli.program import Program

if TYPE_CHECKING:
    from swarm_consumer.admin import Cluster, TopicPlan

program = Program(
    help="Compare the cluster's topics with those APP declares, and apply the difference.",
)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.", show_envvar=False)]
DetailedExitCode = Annotated[
    bool,
    typer.Option(
        "--detailed-exitcode",
        help="Exit with 0 for no changes, 1 for an error, 2 for changes.",
        show_envvar=False,
    ),
]


def _detailed(command: Callable[..., int]) -> Callable[..., int]:
    """With --detailed-exitcode every error is 1, so that 2 always means changes."""

    @functools.wraps(command)
    def run(configuration: Configuration, *, detailed_exitcode: bool = False, **options: Any) -> int:
        try:
            return command(configuration, detailed_exitcode=detailed_exitcode, **options)
        except Exception as error:
            said = sentence(error)
            if said is None or not detailed_exitcode:
                raise
            raise CommandError(said[0]) from error

    return run


@_detailed
def plan(configuration: Configuration, as_json: AsJson = False, detailed_exitcode: DetailedExitCode = False) -> int:
    """Show what `topics migrate` would do, and differences that it never changes. Changes nothing.

    Example: swarm-cli topics plan my_app:app --detailed-exitcode
    """
    with _cluster(configuration) as (cluster, declared):
        plan = _planned(cluster, declared)
    if as_json:
        _print_json(plan, {})
    else:
        _show(plan)
        typer.echo(_counted(plan, "to make: swarm-cli topics migrate applies them"))
    return _code(plan, detailed_exitcode)


@_detailed
def migrate(configuration: Configuration, as_json: AsJson = False, detailed_exitcode: DetailedExitCode = False) -> int:
    """Create what is missing, add partitions, set configurations. Deletes no topics and no partitions.

    Example: swarm-cli topics migrate my_app:app
    """
    return _carried_out(configuration, ("create", "repartition", "configure"), as_json, detailed_exitcode)


@_detailed
def create(configuration: Configuration, as_json: AsJson = False, detailed_exitcode: DetailedExitCode = False) -> int:
    """Create the declared topics that are missing. Existing topics are not changed.

    Example: swarm-cli topics create my_app:app --include-topics 'orders*'
    """
    return _carried_out(configuration, ("create",), as_json, detailed_exitcode)


@_detailed
def repartition(
    configuration: Configuration, as_json: AsJson = False, detailed_exitcode: DetailedExitCode = False
) -> int:
    """Add partitions where more are declared than exist. Keys may go to other partitions afterwards.

    Example: swarm-cli topics repartition my_app:app
    """
    return _carried_out(configuration, ("repartition",), as_json, detailed_exitcode)


@_detailed
def delete(
    configuration: Configuration,
    yes: Yes = False,
    as_json: AsJson = False,
    detailed_exitcode: DetailedExitCode = False,
) -> int:
    """Delete the declared topics with all their records, after confirmation. Other topics are never touched.

    Example: swarm-cli topics delete my_app:app --include-topics results
    """
    from swarm_consumer.admin import plan_deletions

    with _cluster(configuration) as (cluster, declared):
        plan = plan_deletions(declared, cluster.topics([topic.name for topic in declared]))
        if not as_json:
            _show(plan)
        if plan.changes and not yes:
            if as_json or not sys.stdin.isatty():
                raise UsageError(
                    "nothing was deleted: there is no terminal to ask for confirmation, so repeat it with --yes."
                )
            if not typer.confirm("Delete them with all their records?"):
                typer.echo("Nothing was deleted.")
                return 0
        return _make(cluster, plan, as_json, detailed_exitcode)


def _cluster(configuration: Configuration) -> Any:
    import contextlib

    from swarm_cli.administration.connection import connected
    from swarm_cli.administration.scope import declared_topics
    from swarm_cli.composition import overridden_app

    @contextlib.contextmanager
    def opened() -> Any:
        app = overridden_app(configuration)
        declared = declared_topics(app, configuration)
        with connected(app, app.kafka, configuration) as cluster:
            yield cluster, declared

    return opened()


def _planned(cluster: "Cluster", declared: Any) -> "TopicPlan":
    from swarm_consumer.admin import plan_topics

    names = [topic.name for topic in declared]
    return plan_topics(declared, cluster.topics(names, configured=[topic.name for topic in declared if topic.config]))


def _carried_out(configuration: Configuration, actions: tuple[str, ...], as_json: bool, detailed: bool) -> int:
    with _cluster(configuration) as (cluster, declared):
        plan = _planned(cluster, declared).only(*actions)
        if not as_json:
            _show(plan)
        return _make(cluster, plan, as_json, detailed)


def _make(cluster: "Cluster", plan: "TopicPlan", as_json: bool, detailed: bool) -> int:
    """Make every change; a failure does not stop the others."""
    from swarm_consumer.admin import AdminError

    failures: dict[int, str] = {}
    for number, change in enumerate(plan.changes):
        try:
            cluster.make(change)
        except AdminError as error:
            failures[number] = advised(error)[0]
    if as_json:
        _print_json(plan, failures, made=True)
    if failures:
        *others, last = failures.values()
        for failure in others if len(plan.changes) == len(failures) else failures.values():
            complain(failure)
        if len(plan.changes) == len(failures):
            raise CommandError(last)
        raise CommandError(f"{len(failures)} of {len(plan.changes)} changes could not be made; the others were made.")
    if not as_json:
        typer.echo(_counted(plan, "made"))
    return _code(plan, detailed)


def _print_json(plan: "TopicPlan", failures: Mapping[int, str], made: bool = False) -> None:
    from swarm_cli.views.topics import as_data

    say_json(as_data(plan, failures, made), indented=True)


def _show(plan: "TopicPlan") -> None:
    for change in plan.changes:
        typer.echo(str(change))
    for note in plan.notes:
        typer.echo(f"! {note}")


def _counted(plan: "TopicPlan", what: str) -> str:
    count = len(plan.changes)
    return f"{count} change{'s' if count > 1 else ''} {what}." if count else "Nothing to do."


def _code(plan: "TopicPlan", detailed: bool) -> int:
    return ExitCode.CHANGES if detailed and plan.changes else ExitCode.CLEAN


for command in (plan, migrate, create, repartition, delete):
    program.command(command.__name__)(registered(command, TOPICS))
