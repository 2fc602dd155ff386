"""The picture of `top` as lines for a given width and height. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, set_cell_size

from swarm_cli.top_state import TopState
from swarm_cli.views.figures import Sum, brief, count, duration, megabytes, percent, plural, printable, summed
from swarm_cli.views.status import lag, remark, state, style
from swarm_cli.views.terminal import Line
from swarm_cli.views.work import Work, lag_of, work

if TYPE_CHECKING:
    from swarm_supervisor import NodeSnapshot

KEYS = "↑↓ select  r restart  R all  z quiet  Z all  t trace  +/- scale  q quit"
READING_KEYS = "↑↓ PgUp PgDn scroll  q back"
REMARK_BESIDE = 30
"""With at least this many columns left, remarks stand beside their nodes, else below them."""
LEAST_EVENTS = 3
LEAST_TOPICS = 3
ROOM_FOR_TOPICS = 16
"""With fewer lines for nodes, topics and events together, topics are left out if there are events."""
LITTLE_WEIGHT = 5
"""Columns from this rank on matter less than remarks."""


class ScreenColumn(NamedTuple):
    """A column of the nodes' table. The highest `rank` is dropped first when space is short."""

    title: str
    width: int
    rank: int
    cell: Callable[[TopState, NodeSnapshot], str]
    left: bool = False


COLUMNS = (
    ScreenColumn("NODE", 4, 0, lambda top, node: str(node.id)),
    ScreenColumn("STATE", 11, 0, lambda top, node: state(node), left=True),
    ScreenColumn("PID", 7, 3, lambda top, node: str(node.pid or "-")),
    ScreenColumn("UP", 8, 6, lambda top, node: duration(node.uptime_s if node.pid else None)),
    ScreenColumn("CPU", 5, 0, lambda top, node: percent(_cpu(top, node))),
    ScreenColumn("USS MB", 6, 1, lambda top, node: megabytes(_memory(top, node, "uss"))),
    ScreenColumn("PSS MB", 6, 2, lambda top, node: megabytes(_memory(top, node, "pss"))),
    ScreenColumn("RSS MB", 6, 7, lambda top, node: megabytes(_memory(top, node, "rss"))),
    ScreenColumn("MSG/S", 7, 0, lambda top, node: brief(top.messages_per_second(node))),
    ScreenColumn("LAG", 8, 0, lambda top, node: summed(lag(top.snapshot, node), brief)),
    ScreenColumn("FLIGHT", 8, 2, lambda top, node: duration(_in_flight(node))),
    ScreenColumn("BEAT", 7, 5, lambda top, node: duration(node.last_report_age_s)),
    ScreenColumn("RESTARTS", 8, 1, lambda top, node: count(node.restarts)),
)

TOPIC_FIGURES: tuple[tuple[str, int, Callable[[TopState, Work], str]], ...] = (
    ("LAG", 8, lambda top, one: summed(one.lag, brief)),
    ("OLDEST", 9, lambda top, one: duration(one.oldest_s)),
    ("NO OWNER", 8, lambda top, one: count(one.unowned) if one.unowned else ""),
    ("MSG/S", 7, lambda top, one: brief(top.topic_per_second(one.group, one.topic))),
    ("ERRORS", 7, lambda top, one: brief(one.errors)),
    ("MESSAGES", 8, lambda top, one: brief(one.messages)),
    ("PARTITIONS", 10, lambda top, one: count(one.partitions)),
)
LEAST_NAMES = 30
"""Least width for the names of group and topic together before figures are dropped."""
MOST_NAME = 30


def picture(top: TopState, width: int, height: int) -> list[Line]:
    """Exactly `height` lines, none wider than `width` cells."""
    if top.trace is not None:
        return _cut(_stacks(top, height), width, height)
    head = _head(top, width)
    foot = _foot(top)
    room = max(1, height - len(head) - 1)
    table, chosen = _table(top, width)
    topics = work(top.snapshot)
    for_topics = min(len(topics), LEAST_TOPICS) + 2 if topics and room >= ROOM_FOR_TOPICS else 0
    spare = room - len(table) - 2 - for_topics
    for_events = min(len(top.events), max(LEAST_EVENTS, spare)) + 2
    if not top.events or room - for_topics <= len(table[:1]) + LEAST_EVENTS + 3:
        for_events = 0
    lines = head + _window(table, chosen, room - for_topics - for_events)
    if topics:
        least = (min(len(top.events), LEAST_EVENTS) + 2) if top.events else 0
        lines += _topics(top, topics, width, height - len(lines) - 1 - least - 2)
    left = height - len(lines) - 1 - 2
    if left > 0 and top.events:
        recent = list(top.events)[-left:]
        lines += [
            Line(),
            Line("EVENTS", "bold"),
            *(Line(printable(text), _event_style(level)) for text, level in recent),
        ]
    lines = lines[: height - 1]
    lines += [Line()] * (height - 1 - len(lines))
    return _cut([*lines, foot], width, height)


def reading_page(height: int) -> int:
    """The number of stack lines that fit into a height."""
    return max(1, height - 2)


def columns_for(width: int) -> tuple[ScreenColumn, ...]:
    """The columns that fit, in order. Less important ones make room for remarks if that is enough."""
    chosen = list(COLUMNS)
    while len(chosen) > 1 and _span(chosen) > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    leaner = list(chosen)
    while max(column.rank for column in leaner) >= LITTLE_WEIGHT and _left(leaner, width) < REMARK_BESIDE:
        leaner.remove(max(leaner, key=lambda column: column.rank))
    return tuple(leaner if _left(leaner, width) >= REMARK_BESIDE else chosen)


def _left(columns: Sequence[ScreenColumn], width: int) -> int:
    return width - _span(columns) - 2


def _span(columns: Sequence[ScreenColumn]) -> int:
    return sum(column.width + 1 for column in columns) - 1


def _head(top: TopState, width: int) -> list[Line]:
    swarm = top.snapshot
    nodes = swarm.nodes
    troubled = swarm.state in ("degraded", "stopping", "stopped")
    first = (
        f"{swarm.name}  pid {swarm.pid}  {swarm.state}{', rolling restart' if swarm.rolling_restart else ''}  "
        f"{swarm.running}/{plural(swarm.wanted, 'node')}  up {duration(swarm.uptime_s)}  "
        f"{plural(swarm.restarts, 'restart')}"
    )
    alive = [node for node in nodes if node.pid is not None]  # a node without a process has no unknown figures
    second = (
        f"CPU {summed(Sum.of(_cpu(top, node) for node in alive), percent)}  "
        f"USS {summed(Sum.of(_memory(top, node, 'uss') for node in alive), megabytes)} MB  "
        f"PSS {summed(Sum.of(_memory(top, node, 'pss') for node in alive), megabytes)} MB  "
        f"{summed(Sum.of(top.messages_per_second(node) for node in alive), brief)} msg/s  "
        f"lag {summed(lag_of(swarm.partitions), brief)}  "
        f"in flight {duration(max((age for node in nodes if (age := _in_flight(node)) is not None), default=None))}"
    )
    colour = "red" if troubled else "green" if swarm.state == "running" else "yellow"
    lines = [Line(printable(first), f"bold {colour}"), Line(second)]
    if top.silent_s:
        lines.append(Line(f"the supervisor has not answered for {duration(top.silent_s)}", "bold red"))
    elif swarm.reason:
        lines.append(Line(printable(swarm.reason), "red" if troubled else "yellow"))
    return [*lines, Line()]


def _table(top: TopState, width: int) -> tuple[list[Line], tuple[int, int]]:
    """The lines of the table, and the range (from, to) that belongs to the selected node."""
    columns = columns_for(width)
    beside = _left(columns, width)
    titles = " ".join(
        column.title.ljust(column.width) if column.left else column.title.rjust(column.width) for column in columns
    )
    wide = beside >= REMARK_BESIDE
    lines = [Line(_filled(titles + ("  REMARK" if wide else ""), width), "head")]
    chosen = (0, 0)
    for node in top.snapshot.nodes:
        begin = len(lines)
        cells = " ".join(_cell(column, column.cell(top, node)) for column in columns)
        remarks = printable(remark(node))
        if wide and remarks:
            cells += f"  {remarks}"
        look = style(node)
        selected = node.id == top.selected
        lines.append(Line(_filled(cells, width), f"selected {look}" if selected else look))
        if remarks and not wide:
            lines.append(Line(f"     {remarks}", look or "dim"))
        if selected:
            chosen = (begin, len(lines))
    return lines, chosen


def _topics(top: TopState, topics: list[Work], width: int, room: int) -> list[Line]:
    """The topics with the most lag, as many as fit."""
    if room < 1:
        return []
    behind = sorted(topics, key=lambda one: (not one.remark, -one.lag.known, one.group, one.topic))
    shown = behind if len(behind) <= room else behind[: room - 1]
    # On a narrow terminal columns are dropped from the right, and names are shortened before figures.
    figures = list(TOPIC_FIGURES)
    needed = min(LEAST_NAMES, sum(_name_widths(shown, 2 * MOST_NAME)))
    while len(figures) > 3 and _names_room(figures, width) < needed:
        figures.pop()
    widths = _name_widths(shown, max(2, _names_room(figures, width)))
    titles = "  ".join(title.rjust(size) for title, size, _ in figures)
    lines = [Line(), Line(f"{_filled('GROUP', widths[0])}  {_filled('TOPIC', widths[1])}  {titles}", "bold")]
    for one in shown:
        cells = "  ".join(cell(top, one).rjust(size) for _, size, cell in figures)
        names = f"{_filled(printable(one.group), widths[0])}  {_filled(printable(one.topic), widths[1])}"
        text = f"{names}  {cells}"
        if one.remark and cell_len(text) + 2 + cell_len(one.remark) <= width:
            text += f"  {one.remark}"
        lines.append(Line(text, "yellow" if one.remark else ""))
    if len(shown) < len(behind):
        lines.append(Line(f"and {len(behind) - len(shown)} more", "dim"))
    return lines


def _names_room(figures: Sequence[tuple[str, int, object]], width: int) -> int:
    """The width for group and topic together, beside these figures."""
    return width - sum(size + 2 for _, size, _ in figures) - 2


def _name_widths(shown: Sequence[Work], room: int) -> tuple[int, int]:
    """The widths of group and topic: what they need, else half of the space or what the other leaves."""
    group = min(MOST_NAME, max([5, *(cell_len(one.group) for one in shown)]))
    topic = min(MOST_NAME, max([5, *(cell_len(one.topic) for one in shown)]))
    if group + topic <= room:
        return group, topic
    group = min(group, max(room // 2, room - topic))
    return max(1, group), max(1, min(topic, room - group))


def _cell(column: ScreenColumn, text: str) -> str:
    text = _shortened(printable(text), column.width)
    return text.ljust(column.width) if column.left else text.rjust(column.width)


def _shortened(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1))}…"


def _filled(text: str, width: int) -> str:
    """The text padded to exactly `width` cells, so that a coloured or reversed line reaches the edge."""
    return set_cell_size(_shortened(text, width), width)


def _window(table: list[Line], chosen: tuple[int, int], height: int) -> list[Line]:
    """The part of the table that fits: its title, and the lines around the selected node."""
    if len(table) <= height:
        return table
    body, room = table[1:], max(1, height - 1)
    begin = max(0, min(chosen[0] - 1 - room // 2, len(body) - room))
    return [table[0], *body[begin : begin + room]]


def _foot(top: TopState) -> Line:
    if top.asking is not None:
        return Line(f"{top.asking.question()} y/n", "bold yellow")
    if top.awaited is not None:
        return Line(f"asking node {top.awaited} for its stacks", "bold")
    if top.notice:
        return Line(printable(top.notice), "bold")
    return Line(KEYS, "dim")


def _stacks(top: TopState, height: int) -> list[Line]:
    trace = top.trace
    assert trace is not None
    page = reading_page(height)
    shown = trace.lines[trace.top : trace.top + page]
    last = min(len(trace.lines), trace.top + page)
    lines = [Line(f"stacks of node {trace.node}, lines {trace.top + 1} to {last} of {len(trace.lines)}", "bold")]
    lines += [Line(line) for line in shown]
    lines += [Line()] * (height - 1 - len(lines))
    return [*lines, Line(READING_KEYS, "dim")]


def _cut(lines: list[Line], width: int, height: int) -> list[Line]:
    return [Line(_shortened(line.text, width), line.style) for line in lines[:height]]


def _event_style(level: int) -> str:
    return "red" if level >= logging.ERROR else "yellow" if level >= logging.WARNING else ""


def _cpu(top: TopState, node: NodeSnapshot) -> float | None:
    return top.cpu(node.pid)


def _memory(top: TopState, node: NodeSnapshot, metric: str) -> float | None:
    sample = top.memory(node.pid)
    if sample is not None:
        return sample.metric(metric)
    told: float | None = getattr(node.statistics, f"{metric}_mb") if node.statistics is not None else None
    return told


def _in_flight(node: NodeSnapshot) -> float | None:
    return node.statistics.in_flight_age_s if node.statistics is not None else None
