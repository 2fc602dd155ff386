"""Which faults come, in which order and with which amounts: a function of the seed. Pure."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

JOIN_S = 1.5
"""From the end of a restart delay until the partitions of a dead node are at work again, on an idle machine."""


@dataclass(frozen=True, slots=True)
class Times:
    """The settings of the swarm under test, in seconds: what recovery may take follows from them."""

    liveness_interval: float = 1.0
    node_report_timeout: float = 5.0
    stack_dump_timeout: float = 2.0
    boot_timeout: float = 20.0
    drain_timeout: float = 6.0
    shutdown_timeout: float = 8.0
    node_restart_delay: float = 0.5
    restart_delay_max: float = 2.0
    stable_after: float = 5.0
    consuming_ttl: float = 6.0
    session_timeout: float = 45.0
    away: float = JOIN_S
    """How long partitions wait for a member that died, on top of the restart delay: the session, unless it is static
    or evicted."""
    unnamed: float = 0.0
    """How long they wait for one whose member id is lost with the notes: the session, where members are evicted."""
    max_poll_interval: float = 60.0
    commit_interval: float = 0.5
    stuck_client: float = 20.0
    """Until a node ends whose librdkafka client hangs in a rebalance: 15 s, and statistics.interval.ms to notice."""
    slack: float = 10.0
    """What a busy machine may add: process starts, joins, polls of the harness."""

    @property
    def stop(self) -> float:
        """From the order to stop a node until it has gone, at the longest."""
        return self.stack_dump_timeout + self.shutdown_timeout

    @property
    def rejoin(self) -> float:
        """Until the partitions of a member that vanished are at work elsewhere, or again."""
        return self.restart_delay_max + self.away


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what it does, and how long its recovery may take, counted from the end of the fault."""

    name: str
    text: str
    hold_s: tuple[float, float] = (0.0, 0.0)
    """How long it lasts; drawn between these two."""
    weight: int = 1
    """How often it comes in one round."""
    recovery: tuple[str, ...] = ()
    """The names in `Times` whose sum, with the slack, is the recovery bound."""
    notes: bool = False
    """Whether it is about the notes that nodes keep: not without them."""
    asked: bool = False
    """Whether it comes only when it is asked for, because of what it leaves behind."""
    sudden: bool = False
    """Whether nodes die of it that give nothing up, while all else is well."""

    def recovery_s(self, times: Times) -> float:
        """Seconds after the end of the fault by which every partition must have caught up."""
        return float(sum(getattr(times, name) for name in self.recovery) + times.slack)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("node-kill", "SIGKILL of a node", weight=2, recovery=("rejoin",), sudden=True),
        Kind("node-stop-short", "SIGSTOP of a node, SIGCONT in time", (1.0, 3.0), recovery=("rejoin",)),
        Kind(
            "node-stop-long",
            "SIGSTOP of a node until the supervisor has replaced it",
            recovery=("node_report_timeout", "stop", "rejoin"),
            sudden=True,
        ),
        Kind("node-term", "SIGTERM to a node, from outside", recovery=("stop", "rejoin")),
        Kind("node-exit", "a handler calls os._exit(7) in mid-batch", recovery=("rejoin",), sudden=True),
        Kind(
            "record-segfault",
            "a record that ends each process with SIGSEGV",
            recovery=("rejoin", "rejoin", "rejoin"),
            notes=True,
            sudden=True,
        ),
        Kind(
            "record-hang",
            "a record whose handler never returns",
            recovery=(*3 * ("consuming_ttl", "stop", "rejoin"),),
            notes=True,  # not sudden: while a suspect hangs alone, the other partitions of its node wait for it
        ),
        Kind(
            "scribble",
            "random bytes over the notes of all nodes, then SIGKILL of one",
            recovery=("rejoin", "unnamed"),
            notes=True,
            asked=True,  # notes of other processes are refused too, until their pages are used again
            sudden=True,
        ),
        Kind(
            "handler-hang",
            "a handler that never returns and holds the GIL",
            recovery=("node_report_timeout", "stop", "rejoin"),
            sudden=True,
        ),
        Kind("handler-raise", "a handler that raises in mid-batch", recovery=("restart_delay_max",)),
        Kind("handler-long", "a handler that runs longer than its TTL", recovery=("consuming_ttl", "stop", "rejoin")),
        Kind("handler-leak", "a handler that takes 300 MB and keeps them", recovery=("stop", "rejoin")),
        Kind(
            "supervisor-kill",
            "SIGKILL of the supervisor, started again by an outer loop",
            recovery=("rejoin", "unnamed"),
        ),
        Kind("supervisor-stop", "SIGSTOP and SIGCONT of the supervisor", (1.0, 8.0), recovery=("rejoin",)),
        Kind(
            "rolling-restart",
            "USR2: all nodes replaced, one by one",
            recovery=("stop", "stop", "stop", "boot_timeout"),
        ),
        Kind("node-restart", "one node replaced, asked through the control socket", recovery=("stop", "boot_timeout")),
        Kind("scale", "one node more or one less, and back again", (1.0, 3.0), recovery=("stop", "rejoin")),
        Kind("quiet-stop-start", "TSTP, then TERM, then a new supervisor", (0.5, 1.5), recovery=("stop", "rejoin")),
        Kind("foreign-member", "another member joins the group, and leaves", (2.0, 4.0), recovery=("rejoin",)),
        Kind(
            "broker-kill",
            "SIGKILL of the broker, and its restart",
            (0.0, 2.0),
            recovery=("stuck_client", "rejoin"),
        ),
        Kind("broker-stop", "SIGSTOP and SIGCONT of the broker", (1.0, 8.0), recovery=("stuck_client", "rejoin")),
        Kind(
            "network-cut",
            "every connection reset, new ones refused",
            (0.5, 8.0),
            recovery=("stuck_client", "rejoin"),
        ),
        Kind("network-delay", "every packet 50 to 300 ms late, both ways", (3.0, 6.0), recovery=("rejoin",)),
        Kind(
            "network-stall",
            "nothing goes through, and no error is reported",
            (1.0, 8.0),
            recovery=("stuck_client", "rejoin"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule."""

    kind: Kind
    hold_s: float
    target: float
    """In [0, 1): picks the node among those that run then."""
    amount: float
    """In [0, 1): whatever else is to be chosen."""
    pause_s: float
    """Between the recovery from the fault before and this one."""
    hasty: bool
    """Do not wait for the recovery from this fault before the next."""


def faults(
    seed: int,
    only: frozenset[str] = frozenset(),
    *,
    asked: frozenset[str] = frozenset(),
    notes: bool = True,
) -> Iterator[Fault]:
    """Yield faults without end. Every kind comes in each round, the rounds are shuffled.

    only: these kinds alone. asked: these too, which come in no other way. notes: whether nodes keep notes, and get the
    truth from them.
    """
    draw = random.Random(seed)
    wanted = only or {kind.name for kind in KINDS.values() if not kind.asked} | asked
    kinds = [kind for kind in KINDS.values() if kind.name in wanted and (notes or not kind.notes)]
    while True:
        deck = [kind for kind in kinds for _ in range(kind.weight)]
        draw.shuffle(deck)
        for kind in deck:
            yield Fault(
                kind=kind,
                hold_s=draw.uniform(*kind.hold_s),
                target=draw.random(),
                amount=draw.random(),
                pause_s=draw.uniform(0.2, 2.0),
                hasty=draw.random() < 0.2,
            )
