"""Ask the brokers before the first node exists, from a child process: a Kafka client may never live in a supervisor.

What is asked: does any broker answer, does every property exist, does every topic exist, are there partitions enough.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError, UsageError
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_cli.composition import Outline
    from swarm_consumer import App, ClusterReport, Selection

logger = logging.getLogger("swarm_cli")

ATTEMPT_S = 5.0
"""How long one attempt to reach a broker may take."""
PAUSE_S = 2.0
"""Between two attempts."""
SERVERS = "bootstrap.servers"

Ask = Callable[[float], "ClusterReport"]
"""Ask the cluster within so many seconds: in a forked child, or in this process where no fork will follow."""


class Interrupted(Exception):
    """A signal asked for the end while the brokers were being asked."""


def ask_in_child(load: "Callable[[], tuple[App, Selection]]", slack_s: float = 10.0) -> Ask:
    """Ask from a short-lived forked child, so that no client is ever created in this process.

    `load` runs in the child: it may have the application, or import it there, within `slack_s` seconds.
    """
    import msgspec

    from swarm_consumer import ClusterReport, check_cluster
    from swarm_supervisor import ChildFailed, run_in_child

    def ask(timeout_s: float) -> "ClusterReport":
        # The child may be slow to start on a busy machine: its own deadline is the timeout, ours comes after it.
        try:
            answer = run_in_child(
                lambda: msgspec.json.encode(check_cluster(*load(), timeout_s)), timeout_s=timeout_s + slack_s
            )
        except ChildFailed as error:
            raise CommandError(f"the brokers cannot be asked from a child process: {error}.") from error
        return msgspec.json.decode(answer, type=ClusterReport)

    return ask


def await_cluster(
    ask: Ask, servers: str, connect_timeout: float | None, clock: Callable[[], float] = time.monotonic
) -> "ClusterReport":
    """Ask until a broker answers; the answer. Raises CommandError (exit 1) when none does within `connect_timeout`."""
    started = clock()
    warned = False
    while True:
        left = None if connect_timeout is None else connect_timeout - (clock() - started)
        report = ask(ATTEMPT_S if left is None else max(0.1, min(ATTEMPT_S, left)))
        if report.reachable or report.property_errors:
            return report
        waited = clock() - started
        if connect_timeout is not None and waited >= connect_timeout:
            raise CommandError(
                f"no broker answers at {servers} after {waited:.0f} s ({report.error}): check the address and that "
                "the broker runs, or give it longer with --connect-timeout."
            )
        until = "until it answers" if connect_timeout is None else f"for {connect_timeout:g} s in all"
        (logger.info if warned else logger.warning)(
            "no broker answers at %s (%s): trying again every %g s, %s", servers, report.error, PAUSE_S, until
        )
        warned = True
        _pause(PAUSE_S if connect_timeout is None else max(0.0, min(PAUSE_S, connect_timeout - waited)))


def examine(ask: Ask, outline: "Outline", nodes: int, settings: Settings) -> None:
    """Wait for the brokers and judge what they say. Raises CommandError or UsageError."""
    if not outline.servers:
        raise UsageError(f"no broker is named: set {SERVERS} in App(kafka=...) or give --bootstrap-servers HOST:PORT.")
    servers = ", ".join(outline.servers)
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


@contextmanager
def interruptible() -> Iterator[None]:
    """INT, TERM and QUIT raise Interrupted here: as PID 1 a process without a handler would not even notice them."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
