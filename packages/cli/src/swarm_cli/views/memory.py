"""A memory report as text. Pure."""

from __future__ import annotations

from swarm_cli.memory_report import MemoryReport, Process
from swarm_cli.views.figures import megabytes, percent, plural
from swarm_cli.views.table import Column

COLUMNS = (
    Column("PROCESS"),
    Column("PID", figures=True),
    Column("RSS MB", figures=True),
    Column("PSS MB", figures=True),
    Column("USS MB", figures=True),
    Column("SHARED", figures=True),
)


def rows(report: MemoryReport) -> list[tuple[str, ...]]:
    """A line for each process, and the sum."""
    lines = [
        (
            name(process),
            str(process.pid),
            megabytes(process.rss_mb),
            megabytes(process.pss_mb),
            megabytes(process.uss_mb),
            percent(process.shared),
        )
        for process in report.processes
    ]
    return [
        *lines,
        (
            "sum",
            "",
            megabytes(report.rss_mb),
            megabytes(report.total_mb),
            megabytes(report.uss_mb),
            percent(report.shared),
        ),
    ]


def name(process: Process) -> str:
    """What a process is."""
    return process.role if process.node is None else f"{process.role} {process.node}"


def sentences(report: MemoryReport) -> list[str]:
    """What the figures mean."""
    whole = f"Total {megabytes(report.total_mb)} MB (the sum of PSS), {megabytes(report.shared_mb)} MB of it shared."
    if not report.nodes:
        return [whole, "No node has a process now: there is nothing to compare with."]
    separate = plural(len(report.nodes), "separate process").replace("processs", "processes")
    difference = (
        f"{megabytes(report.saved_mb)} MB ({percent(report.saved)}) saved"
        if report.saved_mb >= 0
        else f"the swarm uses {megabytes(-report.saved_mb)} MB more"
    )
    how = (
        "Estimate. For a measurement, run `swarm-cli memory --measure APP`."
        if report.fresh_mb is None
        else f"Measured: a fresh process with the application uses {megabytes(report.fresh_mb)} MB of its own. "
        "The growth of each node since its fork is added. Libraries and code are shared either way."
    )
    return [
        whole,
        f"{separate} would use about {megabytes(report.separate_mb)} MB: {difference}.",
        how,
    ]
