"""`swarm-cli status`: the current state of the swarm, or a yes or no for a script or a probe."""

from enum import Enum
from typing import Annotated

import typer

from swarm_cli.exit_codes import ExitCode
from swarm_cli.operation import AsJson, Control, operation, say, say_json
from swarm_cli.running_swarms import ANSWER_TIMEOUT_S, chosen_path, connected

MOST_TOPICS = 100


class Question(str, Enum):
    """The questions of --check."""

    LIVE = "live"
    READY = "ready"


@operation
def status(
    control: Control = None,
    as_json: AsJson = False,
    check: Annotated[
        Question | None,
        typer.Option(
            metavar="live|ready",
            help="Exit 0 for yes, 1 for no. live: the supervisor answers; ready: all nodes work.",
            envvar="SWARM_CHECK",
            show_envvar=False,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Stop waiting for an answer after SECONDS.",
            envvar="SWARM_TIMEOUT",
            show_envvar=False,
        ),
    ] = ANSWER_TIMEOUT_S,
) -> int:
    """Show the state of the swarm, its nodes, and each topic of each group.

    Counters start with the swarm and include processes that have ended. "≥12": part of the sum is not
    known; "-": none of it is.

    --check asks a single question instead, for a script or a probe. The exit code is the answer.

    Example: swarm-cli status --check ready
    """  # fmt: skip
    path = chosen_path(control)
    with connected(path, timeout) as client:
        snapshot = client.status()
    if check is not None:
        from swarm_liveness import checks

        answer = checks.live(snapshot) if check is Question.LIVE else checks.ready(snapshot)
        if as_json:
            say_json(
                {
                    "check": check.value,
                    "ok": answer.ok,
                    "reasons": answer.reasons,
                    "name": snapshot.name,
                    "pid": snapshot.pid,
                    "state": snapshot.state,
                }
            )
        else:
            say(check.value if answer.ok else f"not {check.value}: {'; '.join(answer.reasons)}")
        return ExitCode.CLEAN if answer.ok else ExitCode.ERROR
    if as_json:
        say_json(snapshot)
        return ExitCode.CLEAN
    from swarm_cli.views import status as view
    from swarm_cli.views import table, work

    nodes, topics = snapshot.nodes, work.work(snapshot)
    say(view.headline(snapshot))
    table.show(view.COLUMNS, [view.row(node, snapshot) for node in nodes], [view.style(node) for node in nodes])
    if topics:
        say("")
        shown = topics[:MOST_TOPICS]
        table.show(work.COLUMNS, [work.row(one) for one in shown], [work.style(one) for one in shown])
    if len(topics) > MOST_TOPICS:
        say(f"and {len(topics) - MOST_TOPICS} more topics: --json has all of them")
    return ExitCode.CLEAN
