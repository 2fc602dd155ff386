"""A failure that comes again and again: told once with its traceback, then counted."""

import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer import App, events
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._reporting.repeated_failures import FORGET_S, MOST_KINDS, PERIOD_S, RepeatedFailures, kind_of
from swarm_consumer.testing import run_messages
from swarm_consumer.wording.folded_traceback import folded


def raised(kind: type[BaseException] = ValueError, text: str = "bad") -> BaseException:
    try:
        raise kind(text)
    except BaseException as error:
        return error


def failed(error: BaseException, topic: str = "orders", partition: int = 0, offset: int = 7) -> events.BatchFailed:
    return events.BatchFailed(
        topic=topic, partition=partition, offset=offset, offset_in_hand=offset, attempt=1, retry_in_s=1.0, error=error
    )


def test_the_first_is_told_in_full_the_next_are_counted_and_the_count_is_told() -> None:
    repeated = RepeatedFailures()
    first = repeated.judge(failed(raised()), 100.0)
    assert (first.line, first.traceback, first.summary) == (True, True, None)
    for number in range(412):
        again = repeated.judge(failed(raised(), partition=number % 3, offset=number), 100.0 + number / 100)
        assert not again.line
    assert repeated.due(109.0) == []
    ((level, text),) = repeated.due(110.5)
    assert level == logging.ERROR
    assert text.startswith("the same error, 412 more in 10 s in 3 partitions; the last: orders[0] offset 411")
    assert repeated.due(130.0) == []
    late = repeated.judge(failed(raised()), 131.0)
    assert (late.line, late.traceback, late.summary) == (True, False, None)


def test_a_kind_that_was_not_seen_for_long_is_told_in_full_again() -> None:
    repeated = RepeatedFailures()
    repeated.judge(failed(raised()), 0.0)
    assert repeated.judge(failed(raised()), FORGET_S + 1).traceback


def test_kinds_differ_by_type_place_topic_and_event() -> None:
    error = raised()
    kinds = {
        kind_of(failed(error)),
        kind_of(failed(error, topic="refunds")),
        kind_of(failed(raised(TypeError))),
        kind_of(events.ErrorOccurred(where="tick", error=error)),
        kind_of(events.ErrorOccurred(where="revoked", error=error)),
        kind_of(events.ClientError(subscription_group="g", code="_TRANSPORT", reason="x")),
        kind_of(events.ClientError(subscription_group="g", code="_ALL_BROKERS_DOWN", reason="x")),
        kind_of(events.Committed(subscription_group="g", offsets=(), error="refused")),
    }
    assert len(kinds) == 8
    assert kind_of(failed(raised(text="one"), offset=1)) == kind_of(failed(raised(text="two"), offset=2))


@pytest.mark.parametrize(
    "event",
    [
        events.ClientError(subscription_group="g", code="_FATAL", reason="x", fatal=True),
        events.Committed(subscription_group="g", offsets=()),
        events.StateChanged(state="running", previous="starting"),
    ],
)
def test_what_is_no_failure_or_is_the_end_is_always_told(event: events.Event) -> None:
    repeated = RepeatedFailures()
    for _ in range(3):
        telling = repeated.judge(event, 1.0)
        assert telling.line


class Tricky(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def test_an_error_without_a_text_is_counted_too() -> None:
    repeated = RepeatedFailures()
    for now in (1.0, 2.0):
        repeated.judge(failed(raised(Tricky)), now)
    assert repeated.due(20.0) != []


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 30)), max_size=300))
def test_every_failure_is_told_or_counted_and_the_memory_is_bounded(steps: list[tuple[int, float]]) -> None:
    """Also when kinds make room for others: what they had counted must not vanish."""
    repeated, now, lines, counted = RepeatedFailures(), 0.0, 0, 0

    def count(text: str | None) -> int:
        return int(re.findall(r", ([\d,]+) more", text)[0].replace(",", "")) if text else 0

    for topic, passed in steps:
        now += passed
        telling = repeated.judge(failed(raised(), topic=f"t{topic}"), now)
        lines += telling.line
        counted += count(telling.summary) + sum(count(text) for _, text in repeated.due(now))
        assert len(repeated._known) <= MOST_KINDS
    counted += sum(count(text) for _, text in repeated.due(now, all_of_them=True))
    assert lines + counted == len(steps)


def test_what_a_kind_had_counted_is_told_when_it_makes_room_for_others() -> None:
    repeated = RepeatedFailures()
    for _ in range(6):
        repeated.judge(failed(raised(), topic="first"), 1.0)
    for number in range(MOST_KINDS):
        repeated.judge(failed(raised(), topic=f"t{number}"), 2.0)
    assert [text for _, text in repeated.due(2.0)] == ["5 more errors of many kinds, not logged one by one"]
    assert repeated.due(99.0) == []


def test_our_own_frames_are_left_out_of_a_traceback_causes_included(caplog: pytest.LogCaptureFixture) -> None:
    app = App("folding", retry_backoff=0.01, retry_backoff_max=0.01)
    seen: list[BaseException] = []
    app.on(events.BatchFailed)(lambda event: seen.append(event.error))

    @app.consume("orders", payload=int)
    def handle(messages: Any) -> None:
        try:
            messages[0].payload  # noqa: B018
        except Exception as error:
            raise RuntimeError("cannot handle it") from error

    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError):
        run_messages(app, {"orders": [b"no number"]})
    text = folded(seen[0])
    assert "/swarm_consumer/" not in text
    assert "test_repeated_failures.py" in text
    assert "cannot handle it" in text
    assert "frames of swarm_consumer left out" in text
    shown = [record.exc_text for record in caplog.records if record.exc_text]
    assert shown
    assert not any("/swarm_consumer/" in one for one in shown)


def test_an_error_that_is_ours_alone_keeps_its_frames() -> None:
    with pytest.raises(TypeError) as caught:
        events.format_partitions(3)  # type: ignore[arg-type]
    error = caught.value.with_traceback(caught.tb.tb_next)
    assert "plain_text.py" in folded(error)
    assert "left out" not in folded(error)


def test_a_flood_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong schema used to write 18 lines for each record and attempt."""
    bus = Bus()
    with caplog.at_level(logging.INFO, logger="swarm_consumer"):
        for number in range(5_000):
            bus.emit(failed(raised(), offset=number))
        bus.tell_repeated(at_the_end=True)
    assert len(caplog.records) == 2 + len([r for r in caplog.records if "the same error" in r.message]) - 1
    assert caplog.records[0].exc_info
    assert caplog.records[-1].message.startswith("the same error, 4,999 more")
    assert not caplog.records[-1].exc_info


def test_listeners_still_get_every_event() -> None:
    bus, seen = Bus(), []
    bus.subscribe(seen.append)
    for _ in range(50):
        bus.emit(failed(raised()))
    assert len(seen) == 50
    assert PERIOD_S > 0
