"""`swarm-cli events`: what happens in a swarm, as it happens."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarm_cli.errors import UsageError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, operation, say
from swarm_cli.running_swarms import chosen_path, connected

if TYPE_CHECKING:
    from swarm_cli.views.event_lines import Event


@operation
def events(
    control: Control = None,
    as_json: AsJson = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also show reports and loop turns.", envvar="SWARM_ALL", show_envvar=False)
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Show only this kind, like NodeExited; repeatable. An unknown kind lists all.",
            metavar="KIND",
            envvar="SWARM_KIND",
            show_envvar=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="End after N events.", envvar="SWARM_LIMIT", show_envvar=False
        ),
    ] = None,
    for_seconds: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="SECONDS", min=0, help="End after SECONDS.", envvar="SWARM_FOR", show_envvar=False
        ),
    ] = None,
) -> int:
    """Follow what happens until the swarm ends, or until Ctrl-C.

    A line for each event. A JSON line has "event" (the kind), "time" (UTC), "at" (monotonic seconds), "level", "line"
    (its text), and its own fields.

    Example: swarm-cli events --json --kind NodeExited
    """  # fmt: skip
    from swarm_cli.views import event_lines

    kinds = frozenset(kind or ())
    _check_kinds(kinds)
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        _follow(
            chosen_path(control),
            kinds,
            every,
            limit,
            for_seconds,
            event_lines.json_line if as_json else event_lines.line,
        )
    return ExitCode.CLEAN


def _follow(
    path: Path,
    kinds: frozenset[str],
    every: bool,
    limit: int | None,
    for_seconds: float | None,
    form: "Callable[[Event], str]",
) -> None:
    from swarm_cli.views.event_lines import noteworthy

    seen = 0
    with connected(path) as client:
        client.request("subscribe")
        for event in client.events(for_seconds):
            if event["event"] in kinds if kinds else every or noteworthy(event):
                say(form(event))
                seen += 1
                if seen == limit:
                    return


def _check_kinds(kinds: frozenset[str]) -> None:
    from swarm_cli.suggestion import did_you_mean
    from swarm_supervisor.events import every_event

    known = every_event()
    for kind in sorted(kinds - known.keys()):
        hint = did_you_mean(kind, known, f"there are {', '.join(sorted(known))}.", cutoff=0.5)
        raise UsageError(f"there is no event of kind {kind!r}: {hint}")
