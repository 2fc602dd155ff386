"""What `top` knows and what its keys do. Pure: `press` returns what the session must carry out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from swarm_cli.rates import Rate

if TYPE_CHECKING:
    from swarm_liveness import MemorySample
    from swarm_supervisor import NodeSnapshot, Snapshot

KEPT_EVENTS = 200


class Order(NamedTuple):
    """An action that the operator wants: "restart", "quiet", "trace", "scale" or "quit"."""

    what: str
    node: int | None = None
    nodes: int | None = None

    def question(self) -> str:
        """The question to confirm it."""
        match self.what:
            case "scale":
                return f"scale to {self.nodes} node{'s' if self.nodes != 1 else ''}?"
            case _:
                return f"{self.what} {'all nodes' if self.node is None else f'node {self.node}'}?"


@dataclass(slots=True)
class Trace:
    """Stacks that the operator is reading."""

    node: int
    text: str
    lines: list[str] = field(default_factory=list)
    """The text folded to the width of the terminal."""
    top: int = 0

    def fold(self, width: int) -> None:
        """Break lines that are too long, because a frame's line ends with the name of the function."""
        width = max(20, width)
        self.lines = [
            line[start : start + width]
            for line in self.text.splitlines()
            for start in range(0, max(1, len(line)), width)
        ]


@dataclass(slots=True)
class TopState:
    """Everything that the picture shows."""

    snapshot: Snapshot
    cpu: Callable[[int | None], float | None]
    """The share of one CPU by pid; None if not known."""
    memory: Callable[[int | None], MemorySample | None]
    now: float = 0.0
    rates: dict[int, Rate] = field(default_factory=dict)
    """Message rates by node id."""
    topic_rates: dict[tuple[str, str], Rate] = field(default_factory=dict)
    """Message rates by group and topic."""
    selected: int = 0
    """A node id."""
    asking: Order | None = None
    notice: str = ""
    awaited: int | None = None
    """The node whose stacks were requested."""
    trace: Trace | None = None
    events: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    """Line and level."""
    silent_s: float = 0.0
    """How long the supervisor has not answered; 0 if it answers."""
    page: int = 10
    """Lines per page of stacks, from the last picture."""

    def node(self) -> NodeSnapshot | None:
        """The selected one."""
        return next((node for node in self.snapshot.nodes if node.id == self.selected), None)

    def take(self, snapshot: Snapshot) -> None:
        """Take a new snapshot. The selection moves if its node has gone."""
        self.snapshot = snapshot
        ids = [node.id for node in snapshot.nodes]
        if ids and self.selected not in ids:
            self.selected = min(ids, key=lambda id_: abs(id_ - self.selected))
        self.rates = {id_: rate for id_, rate in self.rates.items() if id_ in ids}
        places = {(one.group, one.topic): one.messages for one in snapshot.topics}
        self.topic_rates = {place: self.topic_rates.get(place, Rate()) for place in places}
        for place, messages in places.items():
            self.topic_rates[place].add(None, self.now, messages)

    def reported(self, node: int, generation: int, at: float, messages: int) -> None:
        """Take new statistics of a node."""
        self.rates.setdefault(node, Rate()).add(generation, at, messages)

    def messages_per_second(self, node: NodeSnapshot) -> float | None:
        """The rate of a node's current process; None if it is not known or there is no process."""
        rate = self.rates.get(node.id)
        if rate is None or node.pid is None or rate.life != node.generation:
            return None
        return rate.per_second(self.now)

    def topic_per_second(self, group: str, topic: str) -> float | None:
        """The rate of a topic of a group; None if it is not known."""
        rate = self.topic_rates.get((group, topic))
        return None if rate is None else rate.per_second(self.now)


def press(state: TopState, key: str) -> Order | None:
    """Change the state for a key. Returns the action to carry out, if any."""
    if state.trace is not None:
        _read(state.trace, state, key)
        return None
    if state.asking is not None:
        order, state.asking = state.asking, None
        state.notice = "" if key in ("y", "Y", "enter") else "cancelled"
        return order if key in ("y", "Y", "enter") else None
    state.notice, state.awaited = "", None
    if key in ("q", "escape"):
        return Order("quit")
    if key in MOVES:
        _move(state, MOVES[key])
    elif key in ASKED:
        state.asking = ASKED[key](state)
    elif key == "t" and state.node() is not None:
        state.awaited = state.selected
        return Order("trace", state.selected)
    return None


MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10, "home": -(10**6), "end": 10**6}
ASKED: dict[str, Callable[[TopState], Order | None]] = {
    "r": lambda state: Order("restart", state.selected) if state.node() else None,
    "R": lambda state: Order("restart"),
    "z": lambda state: Order("quiet", state.selected) if state.node() else None,
    "Z": lambda state: Order("quiet"),
    "+": lambda state: Order("scale", nodes=state.snapshot.wanted + 1),
    "-": lambda state: Order("scale", nodes=state.snapshot.wanted - 1) if state.snapshot.wanted > 1 else None,
}


def _move(state: TopState, by: int) -> None:
    ids = [node.id for node in state.snapshot.nodes]
    if ids:
        place = ids.index(state.selected) if state.selected in ids else 0
        state.selected = ids[max(0, min(len(ids) - 1, place + by))]


def _read(trace: Trace, state: TopState, key: str) -> None:
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -state.page, "page down": state.page, " ": state.page}
    steps |= {"home": -(10**9), "end": 10**9}
    if key in ("q", "escape", "enter", "t"):
        state.trace = None
    elif key in steps:
        trace.top = max(0, min(len(trace.lines) - state.page, trace.top + steps[key]))
