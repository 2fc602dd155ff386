"""The gate before the first fork, with a supervisor whose children answer what the test says."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from swarm_cli.errors import CommandError
from swarm_cli.outline import Outline
from swarm_cli.preflight import LOOKS
from swarm_cli.settings import Settings
from swarm_cli.start_gate import MOST_LOST, StartGate
from swarm_consumer import ClusterReport
from swarm_supervisor import ChildFailed

OUTLINE = Outline(client_id="shop", servers=["kafka:9092"], topics={"g": ["orders"]})
GOOD = msgspec.json.encode(ClusterReport(reachable=True, topics={"orders": 4}))


class Supervisor:
    """Holds and releases; a child is a callback to call."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.released = 0
        self.stops: list[tuple[str, int]] = []
        self.due: list[Callable[[], None]] = []
        self.asked: list[Callable[[Any], None]] = []
        self.listeners: dict[str, Any] = {}

    def hold(self, reason: str) -> None:
        self.held.append(reason)

    def release(self) -> None:
        self.released += 1

    def stop(self, reason: str, exit_code: int) -> None:
        self.stops.append((reason, exit_code))

    def on(self, kind: type) -> Callable[[Any], Any]:
        return lambda listener: self.listeners.setdefault(kind.__name__, listener)

    def call_at(self, deadline: float, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def in_child(self, function: Callable[[], bytes], timeout_s: float, done: Callable[[Any], None]) -> None:
        self.asked.append(done)

    def answer(self, answer: Any) -> None:
        """Let the next question be asked, and answered."""
        self.due.pop()()
        self.asked.pop()(answer)


def lost(text: str) -> ChildFailed:
    error = ChildFailed(text)
    error.lost = True
    return error


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def gate(supervisor: Supervisor) -> StartGate:
    made: Any = StartGate(supervisor, lambda: None, OUTLINE, 2, Settings(), 10.0)  # type: ignore[arg-type,return-value]
    supervisor.listeners["AfterWarmup"](SimpleNamespace(at=0.0))
    return made


def test_children_that_are_lost_are_followed_by_others(supervisor: Supervisor, gate: StartGate) -> None:
    """A machine that was paused while a child asked, or an OOM kill of it, ended the whole start with 1."""
    for _ in range(3):
        supervisor.answer(lost("it took longer than 12 s"))
        assert supervisor.held[-1] == "waits for Kafka at kafka:9092: it took longer than 12 s"
    assert not supervisor.stops
    supervisor.answer(GOOD)
    assert supervisor.released == 1
    assert gate.exit_code(0) == 0


def test_so_many_in_a_row_are_no_accident(supervisor: Supervisor, gate: StartGate) -> None:
    for _ in range(MOST_LOST):
        supervisor.answer(lost("it was killed by SIGSEGV"))
    ((reason, code),) = supervisor.stops
    assert "asking the brokers from a child process failed: it was killed by SIGSEGV" in reason
    assert code == 1
    with pytest.raises(CommandError, match="SIGSEGV"):
        gate.exit_code(0)


def test_an_error_that_a_child_tells_is_final(supervisor: Supervisor, gate: StartGate) -> None:
    supervisor.answer(ChildFailed("it raised ValueError: no"))
    assert supervisor.stops
    assert not supervisor.released


def test_a_topic_that_is_missing_in_the_first_answer_is_looked_for_again(
    supervisor: Supervisor, gate: StartGate
) -> None:
    """A broker that had just started did not know all topics yet, and the start ended with exit code 2."""
    without = msgspec.json.encode(ClusterReport(reachable=True, topics={"orders": None}))
    supervisor.answer(without)
    assert supervisor.held[-1] == "waits for Kafka at kafka:9092: it does not know 'orders' yet"
    assert not supervisor.stops
    supervisor.answer(GOOD)
    assert supervisor.released == 1


def test_a_broker_that_is_too_slow_to_be_asked_again_has_answered_all_the_same(supervisor: Supervisor) -> None:
    settings = Settings(connect_timeout=0.0)
    StartGate(supervisor, lambda: None, OUTLINE, 2, settings, 10.0)  # type: ignore[arg-type,return-value]
    supervisor.listeners["AfterWarmup"](SimpleNamespace(at=0.0))
    supervisor.answer(msgspec.json.encode(ClusterReport(reachable=True, topics={"orders": None})))
    supervisor.answer(msgspec.json.encode(ClusterReport(error="timed out")))
    ((reason, code),) = supervisor.stops
    assert "topic does not exist at kafka:9092: 'orders'" in reason
    assert code == 2


def test_a_topic_that_stays_missing_ends_the_start(supervisor: Supervisor, gate: StartGate) -> None:
    for _ in range(LOOKS):
        assert not supervisor.stops
        supervisor.answer(msgspec.json.encode(ClusterReport(reachable=True, topics={"orders": None})))
    ((reason, code),) = supervisor.stops
    assert "topic does not exist at kafka:9092: 'orders'" in reason
    assert code == 2


def test_an_answer_that_lacks_a_group_is_looked_for_again_and_is_no_refusal(
    supervisor: Supervisor, gate: StartGate
) -> None:
    """The swarm started with the topics of that group unchecked."""
    part = msgspec.json.encode(ClusterReport(reachable=True, error="timed out"))
    for _ in range(LOOKS):
        assert not supervisor.released
        supervisor.answer(part)
    assert not supervisor.stops
    assert supervisor.released == 1
