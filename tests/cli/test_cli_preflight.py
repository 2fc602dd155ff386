"""What is asked before the first node: how long, how often, and what is said of the answer."""

import logging
import signal
from collections.abc import Callable

import pytest

from swarm_cli import preflight
from swarm_cli.errors import CommandError, UsageError
from swarm_cli.outline import Outline
from swarm_cli.settings import Settings
from swarm_consumer import ClusterReport


class Clock:
    """A clock that only moves when somebody waits or asks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def asking(self, *answers: ClusterReport) -> Callable[[float], ClusterReport]:
        waiting = list(answers)

        def ask(timeout_s: float) -> ClusterReport:
            self.asked.append(timeout_s)
            self.now += timeout_s
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        return ask


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(preflight, "_pause", clock.pause)
    return clock


AWAY = ClusterReport(error="connection refused")
THERE = ClusterReport(reachable=True, topics={"orders": 4})


def test_it_keeps_trying_without_a_limit_and_says_so_at_once_and_then_each_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = preflight.await_cluster(clock.asking(*[AWAY] * 50, THERE), "k:9092", None, clock)
    assert answer is THERE
    assert len(clock.asked) == 51
    assert clock.asked[0] == preflight.FIRST_ATTEMPT_S
    said = [record.getMessage() for record in caplog.records]
    assert clock.now / preflight.REPEAT_S / 2 < len(said) <= 1 + clock.now / preflight.REPEAT_S
    assert said[0].startswith("no broker answers at k:9092: connection refused; trying again until one answers")
    assert "no broker answers at k:9092 for 6" in said[1]


def test_another_reason_is_said_at_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    asking = clock.asking(AWAY, AWAY, ClusterReport(error="no such host"), THERE)
    preflight.await_cluster(asking, "k:9092", None, clock)
    assert [record.getMessage().partition(": ")[2].partition(";")[0] for record in caplog.records] == [
        "connection refused", "no such host"
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [0.0, 0.5, 3.0, 7.0, 60.0])
def test_it_gives_up_after_the_limit_and_not_before(clock: Clock, limit: float) -> None:
    with pytest.raises(CommandError) as caught:
        preflight.await_cluster(clock.asking(AWAY), "k:9092", limit, clock)
    assert caught.value.exit_code == 1
    assert "k:9092" in str(caught.value)
    assert limit <= clock.now <= limit + preflight.ATTEMPT_S


def test_a_missing_topic_is_refused_by_name_unless_allowed(caplog: pytest.LogCaptureFixture) -> None:
    report = ClusterReport(reachable=True, topics={"orders": None, "refunds": 3})
    groups = {"g": ["orders", "refunds"]}
    with pytest.raises(UsageError, match="topic does not exist at k:9092: 'orders'"):
        preflight.judge(report, groups, 2, "k:9092", allow_missing_topics=False)
    preflight.judge(report, groups, 2, "k:9092", allow_missing_topics=True)
    assert "waiting for it" in caplog.text


def test_a_refused_property_is_a_usage_error_even_without_a_broker() -> None:
    report = ClusterReport(property_errors=["no such property: fetch.speed (App(kafka=...))"])
    asked = preflight.await_cluster(lambda timeout_s: report, "k:9092", 60.0, lambda: 0.0)
    with pytest.raises(UsageError, match=r"fetch\.speed"):
        preflight.judge(asked, {"g": ["orders"]}, 2, "k:9092", allow_missing_topics=True)


@pytest.mark.parametrize(("partitions", "nodes", "idle"), [(4, 4, 0), (4, 5, 1), (1, 8, 7), (9, 8, 0)])
def test_nodes_that_will_idle_are_counted(partitions: int, nodes: int, idle: int) -> None:
    report = ClusterReport(reachable=True, topics={"orders": partitions})
    said = list(preflight.idle_warnings(report, {"billing": ["orders"]}, nodes))
    assert len(said) == (1 if idle else 0)
    assert not idle or said[0].startswith(f"{idle} of {nodes} nodes will be idle")


def test_a_pattern_is_not_counted() -> None:
    report = ClusterReport(reachable=True, topics={"orders": 1})
    assert not list(preflight.idle_warnings(report, {"billing": ["orders", "^extra-.*"]}, 8))


def test_once_handed_over_a_signal_that_nobody_takes_is_as_before_and_a_late_one_is_told() -> None:
    """`server` takes no QUIT: it was swallowed for as long as it ran."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    late: list[str] = []
    with preflight.interruptible(lambda: late.append("late")) as hand_over:
        waits = {number: signal.signal(number, signal.SIG_IGN) for number in numbers[:2]}
        hand_over()
        assert signal.getsignal(signal.SIGQUIT) is before[signal.SIGQUIT]
        assert {signal.getsignal(number) for number in numbers[:2]} == {signal.SIG_IGN}
        for number, handler in waits.items():
            signal.signal(number, handler)
        assert late == []
        signal.raise_signal(signal.SIGTERM)
        assert late == ["late"]
    assert {number: signal.getsignal(number) for number in numbers} == before


def test_one_process_looks_again_for_a_topic_that_is_missing(clock: Clock) -> None:
    without = ClusterReport(reachable=True, topics={"orders": None})
    outline = Outline(client_id="shop", servers=["k:9092"], topics={"g": ["orders"]})
    answers = [without, THERE]
    preflight.examine(lambda timeout_s: answers.pop(0), outline, 1, Settings())
    assert not answers
    with pytest.raises(UsageError, match="topic does not exist"):
        preflight.examine(lambda timeout_s: without, outline, 1, Settings())
    answers = [without, AWAY]
    with pytest.raises(UsageError, match="topic does not exist"):
        preflight.examine(lambda timeout_s: answers.pop(0), outline, 1, Settings(connect_timeout=0.0))
    assert not answers
