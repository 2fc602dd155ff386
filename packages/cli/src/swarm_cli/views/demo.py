"""The demo's output: a live bar and a line per node in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swarm_supervisor import NodeSnapshot

Nodes = Sequence[NodeSnapshot]


class DemoView(Protocol):
    """What the driver reports to its view."""

    def stage(self, text: str) -> None:
        """Start a new stage."""

    def event(self, text: str) -> None:
        """Show an event that stays on the screen."""

    def progress(self, done: int, total: int, nodes: Nodes, by_node: Mapping[str, int]) -> None:
        """Show that `done` of `total` records are out; `nodes` is from the supervisor's snapshot."""

    def close(self) -> None:
        """End the progress display; further output is printed below."""


def view_for(console: Console) -> DemoView:
    """A live view for a terminal, plain lines otherwise (a pipe, a CI log)."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def node_line(node: NodeSnapshot, by_node: Mapping[str, int]) -> str:
    """One node in one line."""
    records = by_node.get(str(node.id), 0)
    text = f"node {node.id}  {node.state:<12} pid {node.pid or '-':<8} {records:>7,} records"
    return text + (f"  {node.restarts} restart{'s' if node.restarts > 1 else ''}" if node.restarts else "")


class PlainView:
    """Plain lines: one per stage or event, and the progress at every quarter."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._quarter = 0

    def _line(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", markup=False, highlight=False)

    def stage(self, text: str) -> None:
        """One line."""
        self._quarter = 0
        self._line(text)

    def event(self, text: str) -> None:
        """One line."""
        self._line(text)

    def progress(self, done: int, total: int, nodes: Nodes, by_node: Mapping[str, int]) -> None:
        """Print one line, and one per node, whenever another quarter is done."""
        quarter = 4 * done // max(1, total)
        if quarter == self._quarter:
            return
        self._quarter = quarter
        self._line(f"{done:,} of {total:,} records")
        for node in nodes:
            self._line(f"  {node_line(node, by_node)}")

    def close(self) -> None:
        """Do nothing: nothing is open."""


class LiveView:
    """A progress bar, a line per node and the last events, drawn by the caller's thread.

    There is no refresh thread: it draws when it gets news, at most ten times a second.
    """

    INTERVAL_S = 0.1

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._stage = ""
        self._done, self._total = 0, 0
        self._nodes: Nodes = ()
        self._by_node: Mapping[str, int] = {}
        self._drawn = 0.0

    def stage(self, text: str) -> None:
        """Set the line above the bar."""
        self._stage, self._done, self._total = text, 0, 0
        self._draw(now=True)

    def event(self, text: str) -> None:
        """Print a line above the live part; it stays."""
        self._console.print(Text(f"● {text}"))
        self._draw(now=True)

    def progress(self, done: int, total: int, nodes: Nodes, by_node: Mapping[str, int]) -> None:
        """Draw the bar and the lines of the nodes."""
        self._done, self._total, self._nodes, self._by_node = done, total, nodes, by_node
        self._draw(now=done >= total)

    def close(self) -> None:
        """Remove the live part; the lines above it stay."""
        self._live.stop()

    def _draw(self, now: bool) -> None:
        moment = time.monotonic()
        if not now and moment - self._drawn < self.INTERVAL_S:
            return
        self._drawn = moment
        lines: list[Any] = [Text(self._stage, style="bold")]
        if self._total:
            bar = Table.grid(padding=(0, 1))
            counted = f"{self._done:,} / {self._total:,}"
            bar.add_row(ProgressBar(total=self._total, completed=self._done, width=40), counted)
            lines.append(bar)
        for node in self._nodes:
            style = "green" if node.state == "running" else "yellow"
            lines.append(Text(node_line(node, self._by_node), style=style))
        self._live.update(Group(*lines), refresh=True)
