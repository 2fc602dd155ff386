"""What is asked of the brokers before the first node exists, how often, and what is made of the answer.

Does any broker answer, do all properties and all topics exist, are there partitions enough? A Kafka client may
never live in a supervisor, so there a child process asks (`start_gate`); `server`, which forks nothing, asks by itself.
"""

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
"""How long the first attempt to reach a broker may take: short, since what is awaited is to be said at once."""
ATTEMPT_S = 5.0
"""How long each other may take."""
PAUSE_S = 2.0
"""Between two attempts."""
REPEAT_S = 60.0
"""How often it is said again that no broker answers, while the reason is the same."""
SERVERS = "bootstrap.servers"

Ask = Callable[[float], "ClusterReport"]
"""Ask the cluster within so many seconds, in this process."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end before there was anything to stop; its text is the signal's name."""


@dataclass
class Patience:
    """How long each attempt may take, when to try again and when to give up. Pure but for its log lines."""

    servers: str
    connect_timeout: float | None
    """Seconds after which to give up; None: never."""
    started: float
    told: str = ""
    told_at: float = field(default=0.0)
    attempts: int = 0

    def attempt_s(self, now: float) -> float:
        """How long the attempt that begins now may take."""
        most = ATTEMPT_S if self.attempts else FIRST_ATTEMPT_S
        self.attempts += 1
        left = most if self.connect_timeout is None else self.connect_timeout - (now - self.started)
        return max(0.1, min(most, left))

    def failed(self, reason: str, now: float) -> float:
        """After an attempt that nobody answered: seconds until the next. Raises CommandError (exit 1) at the end."""
        waited = now - self.started
        if self.connect_timeout is not None and waited >= self.connect_timeout:
            raise CommandError(
                f"no broker answers at {self.servers} after {waited:.0f} s: {reason}. Check the address and that the "
                "broker runs, or give it longer with --connect-timeout."
            )
        if reason != self.told or now - self.told_at >= REPEAT_S:
            until = (
                "until one answers (--connect-timeout sets an end)"
                if self.connect_timeout is None
                else f"for {self.connect_timeout:g} s in all (--connect-timeout)"
            )
            since = f" for {waited:.0f} s" if self.told else ""
            logger.warning("no broker answers at %s%s: %s; trying again %s", self.servers, since, reason, until)
            self.told, self.told_at = reason, now
        return PAUSE_S if self.connect_timeout is None else max(0.0, min(PAUSE_S, self.connect_timeout - waited))


def named_servers(outline: "Outline") -> str:
    """The brokers of an application. Raises UsageError where none is named."""
    if not outline.servers:
        raise UsageError(f"no broker is named: set {SERVERS} in App(kafka=...) or give --bootstrap-servers HOST:PORT.")
    return ", ".join(outline.servers)


def waiting(servers: str, why: str | None = "") -> str:
    """What a start says that it waits for."""
    return f"waits for Kafka at {servers}: {why}" if why else f"waits for Kafka at {servers}"


def settled(report: "ClusterReport") -> bool:
    """Whether there is nothing more to wait for: a broker has answered, or the client has refused a property."""
    return report.reachable or bool(report.property_errors)


def await_cluster(
    ask: Ask, servers: str, connect_timeout: float | None, clock: Callable[[], float] = time.monotonic
) -> "ClusterReport":
    """Ask until a broker answers; the answer. Raises CommandError (exit 1) when none does within `connect_timeout`."""
    patience = Patience(servers, connect_timeout, clock())
    while True:
        report = ask(patience.attempt_s(clock()))
        if settled(report):
            return report
        _pause(patience.failed(report.error or "no answer", clock()))


def examine(ask: Ask, outline: "Outline", nodes: int, settings: Settings) -> None:
    """Wait for the brokers and judge what they say. Raises CommandError or UsageError."""
    servers = named_servers(outline)
    report = await_cluster(ask, servers, settings.connect_timeout)
    judge(report, outline.topics, nodes, servers, settings.allow_missing_topics)


def _pause(seconds: float) -> None:
    time.sleep(seconds)  # a signal handler that raises ends it at once


def judge(
    report: "ClusterReport", groups: Mapping[str, Sequence[str]], nodes: int, servers: str, allow_missing_topics: bool
) -> None:
    """Refuse what cannot work and warn of what will idle; `groups`: subscription groups and their topics.

    Raises UsageError (exit 2) for a property that the client refuses and for a topic that does not exist.
    """
    if report.property_errors:
        raise UsageError("; ".join(report.property_errors))
    missing = sorted(name for name, partitions in report.topics.items() if partitions is None)
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


def idle_warnings(report: "ClusterReport", groups: Mapping[str, Sequence[str]], nodes: int) -> Iterator[str]:
    """One sentence for each subscription group whose partitions do not suffice for all nodes.

    A group with a pattern is passed over: nobody knows what the pattern will find.
    """
    for name, topics in sorted(groups.items()):
        if any(topic not in report.topics for topic in topics):
            continue
        partitions = sum(report.topics.get(topic) or 0 for topic in topics)
        if 0 < partitions < nodes:
            yield (
                f"{nodes - partitions} of {nodes} nodes will be idle in {name}: {', '.join(sorted(topics))} "
                f"{'has' if len(topics) == 1 else 'have'} {partitions} partition{'s' if partitions > 1 else ''}, and a "
                "partition goes to one node at a time"
            )


def interruption(servers: str) -> str:
    """What is said of a Ctrl-C while the brokers were awaited."""
    return f"interrupted while it waited for Kafka at {servers}: nothing was started."


@contextmanager
def interruptible(late: Callable[[], object] = lambda: None) -> Iterator[Callable[[], None]]:
    """INT, TERM, QUIT and HUP raise Interrupted here: as PID 1 a process would not notice them without a handler.

    A HUP that is ignored stays ignored: nohup has seen to it. What it yields is called by whoever brings handlers of
    its own inside: a signal that has none there is as before this block. Once they are gone again the process is about
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
    """End this process at a signal here, by SystemExit: after an INT with a line and exit code 130, else with 0.

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
