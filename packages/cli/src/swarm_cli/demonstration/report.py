"""What the demo found, as plain data, and the tables that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from swarm_cli.demonstration.pace import Pace


@dataclass(frozen=True, kw_only=True)
class MemoryComparison:
    """Proportional set size (PSS, MB = 2^20 bytes): shared pages are counted once in all, by equal parts."""

    swarm_mb: float
    separate_mb: float
    processes: int
    """Number of separate processes that did the same work: as many as the swarm has nodes."""

    @property
    def saving(self) -> float:
        """The part saved, 0 to 1."""
        return 1 - self.swarm_mb / self.separate_mb


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the last table shows."""

    records_in: int
    records_out: int
    lost: int
    wrong: int
    duplicated: int
    by_node: Mapping[str, int]
    killed: str
    replaced: bool
    restarts: Sequence[str]
    consuming_s: float
    paces: Mapping[str, Pace]
    memory: MemoryComparison
    delays: Sequence[tuple[str, ...]]

    @property
    def passed(self) -> bool:
        """Whether nothing was lost or wrong, the killed node was replaced, and sharing saved memory."""
        return self.lost == 0 and self.wrong == 0 and self.replaced and self.memory.saving > 0


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    console.print()
    console.print(_records(report))
    for text in report.restarts:
        console.print(f"Restarted: {text}", markup=False, highlight=False)
    console.print(_throughput(report.paces))
    console.print(_memory(report.memory))
    console.print(
        "The more an application loads before the fork, the more it saves: 73 % with the tables of docs/memory.md.",
        highlight=False,
    )
    console.print(_delays(report.delays))
    verdict = (
        "Every record came out, and each equals the output of a single process."
        if report.lost == 0 and report.wrong == 0
        else f"{report.lost:,} records were lost and {report.wrong:,} are wrong."
    )
    if not report.replaced:
        verdict += f" But {report.killed} was not replaced."
    if report.memory.saving <= 0:
        verdict += " But the swarm did not use less memory than separate processes."
    console.print(verdict, style="bold green" if report.passed else "bold red", highlight=False)


def _records(report: Report) -> Table:
    table = Table(title="Records", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = [
        ("records in", f"{report.records_in:,}"),
        ("records out", f"{report.records_out:,}"),
        ("lost", f"{report.lost:,}"),
        ("wrong", f"{report.wrong:,}"),
        ("duplicated (handled again after the kill)", f"{report.duplicated:,}"),
    ]
    rows += [(f"from node {node}", f"{count:,}") for node, count in sorted(report.by_node.items())]
    rows += [("time to consume, with start and kill", f"{report.consuming_s:.1f} s")]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _throughput(paces: Mapping[str, Pace]) -> Table:
    table = Table(title="Throughput (without starts)", title_justify="left")
    table.add_column("")
    table.add_column("records/s", justify="right")
    for who, pace in paces.items():
        table.add_row(who, "-" if pace.per_s is None else f"{pace.per_s:,.0f}")
    return table


def _memory(memory: MemoryComparison) -> Table:
    table = Table(title="Memory (PSS) after the same work", title_justify="left")
    table.add_column("")
    table.add_column("MB", justify="right")
    table.add_row(f"swarm: supervisor and {memory.processes} nodes", f"{memory.swarm_mb:.1f}")
    table.add_row(f"{memory.processes} separate processes", f"{memory.separate_mb:.1f}")
    table.add_row("saved", f"{100 * memory.saving:.0f} %")
    return table


def _delays(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(
        title="Arrival delay by carrier, New York, January 2013 (from the output topic)", title_justify="left"
    )
    for name in ("carrier", "flights", "cancelled", "late", "mean min", "median min", "p90 min"):
        table.add_column(name, justify="left" if name == "carrier" else "right")
    for row in rows:
        table.add_row(*row)
    return table
