"""Questions to the brokers before the first node exists: what, how often, and how the answer is judged.

Does any broker answer, do all properties and topics exist, are there enough partitions? A Kafka client must
never live in a supervisor, so a child process asks (`start_gate`); `server`, which forks nothing, asks itself.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError, UsageError, complain
from swarm_cli.exit_codes import ExitCode
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_cli.outline import Outline
    from swarm_consumer import ClusterReport

logger = logging.getLogger("swarm_cli")

FIRST_ATTEMPT_S = 2.0
"""Time limit of the first attempt to reach a broker: short, so that the wait is reported at once."""
ATTEMPT_S = 5.0
"""Time limit of each later attempt."""
PAUSE_S = 2.0
"""Pause between two attempts."""
LOOKS = 3
"""How many answers in a row must lack a topic: a broker that has just started does not know all topics at once."""
LOOK_S = 1.0
"""Pause between two of these answers."""
REPEAT_S = 60.0
"""How often the log repeats that no broker answers, for an unchanged reason."""
SERVERS = "bootstrap.servers"

Ask = Callable[[float], "ClusterReport"]
"""Ask the cluster in this process, within the given number of seconds."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end before anything was started; the text is the signal's name."""


@dataclass
class Patience:
    """How long each attempt may take, when to try again and when to give up. Pure except for its log lines."""

    servers: str
    connect_timeout: float | None
    """Seconds after which to give up; None: never."""
    started: float
    told: str = ""
    told_at: float = field(default=0.0)
    attempts: int = 0

    def attempt_s(self, now: float) -> float:
        """Time limit for an attempt that starts now."""
        most = ATTEMPT_S if self.attempts else FIRST_ATTEMPT_S
        self.attempts += 1
        left = most if self.connect_timeout is None else self.connect_timeout - (now - self.started)
        return max(0.1, min(most, left))

    def failed(self, reason: str, now: float) -> float:
        """Seconds from a failed attempt to the next. Raises CommandError (exit 1) when it is time to give up."""
        waited = now - self.started
        if self.connect_timeout is not None and waited >= self.connect_timeout:
            raise CommandError(
                f"no broker answers at {self.servers} after {waited:.0f} s: {reason}. Check the address and that the "
                "broker runs, or wait longer with --connect-timeout."
            )
        if reason != self.told or now - self.told_at >= REPEAT_S:
            until = (
                "until one answers (--connect-timeout sets a limit)"
                if self.connect_timeout is None
                else f"for {self.connect_timeout:g} s in all (--connect-timeout)"
            )
            since = f" for {waited:.0f} s" if self.told else ""
            logger.warning("no broker answers at %s%s: %s; trying again %s", self.servers, since, reason, until)
            self.told, self.told_at = reason, now
        return PAUSE_S if self.connect_timeout is None else max(0.0, min(PAUSE_S, self.connect_timeout - waited))


def named_servers(outline: Outline) -> str:
    """The brokers of an application. Raises UsageError if none is named."""
    if not outline.servers:
        raise UsageError(f"no broker is given: set {SERVERS} in App(kafka=...) or use --bootstrap-servers HOST:PORT.")
    return ", ".join(outline.servers)


def waiting(servers: str, why: str | None = "") -> str:
    """The text for what a start is waiting for."""
    return f"waits for Kafka at {servers}: {why}" if why else f"waits for Kafka at {servers}"


def settled(report: ClusterReport) -> bool:
    """Whether the wait is over: a broker has answered, or the client has refused a property."""
    return report.reachable or bool(report.property_errors)


def await_cluster(
    ask: Ask, servers: str, connect_timeout: float | None, clock: Callable[[], float] = time.monotonic
) -> ClusterReport:
    """Ask until a broker answers, and return the answer. Raises CommandError (exit 1) after `connect_timeout`."""
    patience = Patience(servers, connect_timeout, clock())
    while True:
        report = ask(patience.attempt_s(clock()))
        if settled(report):
            return report
        _pause(patience.failed(report.error or "no answer", clock()))


def examine(ask: Ask, outline: Outline, nodes: int, settings: Settings) -> None:
    """Wait for the brokers and judge what they say. Raises CommandError or UsageError."""
    servers = named_servers(outline)
    report = await_cluster(ask, servers, settings.connect_timeout)
    for _ in range(LOOKS - 1):
        if not in_doubt(report, settings):
            break
        _pause(LOOK_S)
        try:
            report = await_cluster(ask, servers, settings.connect_timeout)
        except CommandError:
            break  # the answer before stands: a broker did answer
    judge(report, outline.topics, nodes, servers, settings.allow_missing_topics)


def missing_topics(report: ClusterReport) -> list[str]:
    """The topics that the brokers do not have, or do not know yet."""
    return sorted(name for name, partitions in report.topics.items() if partitions is None)


def in_doubt(report: ClusterReport, settings: Settings) -> bool:
    """Whether to ask once more before a start is refused because of this answer."""
    if report.property_errors:
        return False
    # With an error beside an answer, the topics of some groups are not in the answer at all.
    return report.error is not None or (bool(missing_topics(report)) and not settings.allow_missing_topics)


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # a signal handler that raises ends the wait at once


def judge(
    report: ClusterReport, groups: Mapping[str, Sequence[str]], nodes: int, servers: str, allow_missing_topics: bool
) -> None:
    """Refuse what cannot work and warn about idle nodes. `groups`: subscription groups and their topics.

    Raises UsageError (exit 2) for a property that the client refuses and for a topic that does not exist.
    """
    if report.property_errors:
        raise UsageError("; ".join(report.property_errors))
    missing = missing_topics(report)
    if missing:
        names = ", ".join(repr(name) for name in missing)
        verb = "topics do" if len(missing) > 1 else "topic does"
        if not allow_missing_topics:
            raise UsageError(
                f"the {verb} not exist at {servers}: {names}. Create it, correct the name, or start with "
                "--allow-missing-topics to wait for it."
            )
        logger.warning("the %s not exist yet at %s: %s; waiting for it", verb, servers, names)
    for text in idle_warnings(report, groups, nodes):
        logger.warning("%s", text)


def idle_warnings(report: ClusterReport, groups: Mapping[str, Sequence[str]], nodes: int) -> Iterator[str]:
    """One sentence for each subscription group with fewer partitions than nodes.

    A group with a pattern is skipped, because it is unknown what the pattern will match.
    """
    for name, topics in sorted(groups.items()):
        if any(topic not in report.topics for topic in topics):
            continue
        partitions = sum(report.topics.get(topic) or 0 for topic in topics)
        if 0 < partitions < nodes:
            yield (
                f"{nodes - partitions} of {nodes} nodes will be idle in {name}: {', '.join(sorted(topics))} "
                f"{'has' if len(topics) == 1 else 'have'} {partitions} partition{'s' if partitions > 1 else ''}, and a "
                "partition is consumed by one node at a time"
            )


def interruption(servers: str) -> str:
    """The text for a Ctrl-C during the wait for brokers."""
    return f"interrupted while waiting for Kafka at {servers}: nothing was started."


@contextmanager
def interruptible(late: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """Raise Interrupted for INT, TERM, QUIT and HUP: as PID 1 a process ignores them without a handler.

    An ignored HUP stays ignored (nohup). Code that installs its own handlers inside calls the yielded function:
    a signal without such a handler is as before this block. Once those handlers are gone, the process is about
    to end, and a signal only calls `late`.
    """
    handed_over = False

    def hand_over() -> None:
        nonlocal handed_over
        for number in [number for number in before if signal.getsignal(number) is stop]:
            signal.signal(number, before.pop(number))
        handed_over = True

    def stop(number: int, frame: FrameType | None) -> None:
        if not handed_over:
            raise Interrupted(signal.Signals(number).name)
        late()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield hand_over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ends_when_interrupted(during: str, late: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """End this process by SystemExit on a signal: with a line and exit code 130 after an INT, else with 0.

    `late`, and what it yields: as `interruptible`.
    """
    try:
        with interruptible(late) as hand_over:
            yield hand_over
    except Interrupted as interrupted:
        if str(interrupted) != "SIGINT":
            raise SystemExit(ExitCode.CLEAN) from None
        complain(f"interrupted while {during}: nothing was started.")
        raise SystemExit(ExitCode.INTERRUPTED) from None
