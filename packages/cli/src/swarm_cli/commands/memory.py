"""`swarm-cli memory`: what the swarm uses, what is shared, and what separate processes would use."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarm_cli.errors import CommandError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.local_processes import same_pids
from swarm_cli.operation import AsJson, Control, operation, say, say_json
from swarm_cli.running_swarms import chosen_path, connected

if TYPE_CHECKING:
    from swarm_cli.memory_report import MemoryReport, Process
    from swarm_supervisor import Snapshot


@operation
def memory(
    control: Control = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="APP",
            help="Load APP (module:attribute) in a fresh process and compare with it.",
            envvar="SWARM_MEASURE",
            show_envvar=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show the memory of every process and how much sharing saves.

    RSS counts shared pages in every process, PSS divides them, USS leaves them out. 1 MB is 2^20 bytes.

    Example: swarm-cli memory --measure my_app:app
    """  # fmt: skip
    with connected(chosen_path(control)) as client:
        snapshot = client.status()
        if not same_pids(client, snapshot.pid):
            raise CommandError(
                f"the supervisor (pid {snapshot.pid} there) is in another pid namespace: run this command there, "
                "for example in its container."
            )
    processes = _processes(snapshot)
    fresh = None
    if measure is not None:
        from swarm_cli.fresh_process import anonymous_mb

        fresh = anonymous_mb(measure)
    from swarm_cli.memory_report import MemoryReport

    report = MemoryReport(processes, fresh)
    if as_json:
        say_json(_document(snapshot, report))
        return ExitCode.CLEAN
    from swarm_cli.views import memory as view
    from swarm_cli.views import table

    table.show(view.COLUMNS, view.rows(report))
    for sentence in view.sentences(report):
        say(sentence)
    return ExitCode.CLEAN


def _processes(snapshot: "Snapshot") -> "list[Process]":
    from swarm_cli.memory_report import read

    wanted: list[tuple[str, int | None, int | None]] = [("supervisor", None, snapshot.pid)]
    for node in snapshot.nodes:
        wanted += [("node", node.id, node.pid), ("spare", node.id, node.spare_pid)]
    try:
        found = [read(role, node, pid) for role, node, pid in wanted if pid is not None]
    except PermissionError as error:
        raise CommandError(
            f"the memory of the swarm (pid {snapshot.pid}) cannot be read: run this command as the swarm's own user."
        ) from error
    processes = [process for process in found if process is not None]
    if not processes or processes[0].role != "supervisor":
        raise CommandError(
            f"there is no process {snapshot.pid} here: run this command where the supervisor is, as in its container."
        )
    return processes


def _document(snapshot: "Snapshot", report: "MemoryReport") -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "pid": snapshot.pid,
        "processes": [
            {
                "role": process.role,
                "node": process.node,
                "pid": process.pid,
                "rss_mb": process.rss_mb,
                "pss_mb": process.pss_mb,
                "uss_mb": process.uss_mb,
                "anonymous_mb": process.anonymous_mb,
                "shared": process.shared,
            }
            for process in report.processes
        ],
        "rss_mb": report.rss_mb,
        "total_mb": report.total_mb,
        "uss_mb": report.uss_mb,
        "shared_mb": report.shared_mb,
        "shared": report.shared,
        # Without a node there is nothing to compare with: the saving is unknown, not negative.
        "separate_mb": report.separate_mb if report.nodes else None,
        "saved_mb": report.saved_mb if report.nodes else None,
        "saved": report.saved if report.nodes else None,
        "basis": "estimate" if report.fresh_mb is None else "measured",
        "fresh_process_mb": report.fresh_mb,
    }
