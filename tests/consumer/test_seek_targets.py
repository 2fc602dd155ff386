"""What seek() takes, and where it leads. Without a broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from swarm_consumer._connection import seeks


class Index:
    """An integer of another library, such as numpy.int64."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize("target", [0, 3, 2**63 - 2, "earliest", "latest", datetime.now(UTC)])
def test_what_can_be_sought_is_taken_as_it_is(target):
    assert seeks.checked(target) == target


def test_an_integer_of_another_library_becomes_an_int():
    assert type(seeks.checked(Index(7))) is int
    assert seeks.checked(Index(7)) == 7


@pytest.mark.parametrize("target", [3.0, None, True, b"latest", "3", "beginning", [], object()])
def test_what_is_no_place_is_refused_where_it_is_asked_for(target):
    with pytest.raises((TypeError, ValueError), match="seek to an offset"):
        seeks.checked(target)


@pytest.mark.parametrize("target", [-1, -2, 2**63 - 1, 2**70, Index(-5)])
def test_an_offset_that_cannot_be_is_refused(target):
    with pytest.raises(ValueError, match="there is no offset"):
        seeks.checked(target)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        seeks.checked(datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_time_that_librdkafka_would_take_for_an_end_is_refused():
    with pytest.raises(ValueError, match="before 1970"):
        seeks.checked(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1))


class Log:
    """Stands for a client: a partition with the offsets 10 to 19."""

    def get_watermark_offsets(self, place, timeout):
        return 10, 20

    def offsets_for_times(self, places, timeout):
        found = TopicPartition("t", 0, 15 if places[0].offset < 2_000_000_000_000 else OFFSET_END)
        return [found]


NEW, OLD = datetime(2090, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("target", "initial_offset", "place"),
    [
        ("earliest", "earliest", 10),
        ("latest", "earliest", 20),
        (10, "earliest", 10),
        (15, "latest", 15),
        (20, "earliest", 20),  # the next one to come
        (3, "earliest", 10),  # gone: the first that is there
        (3, "latest", 10),  # not the end: that would skip what is there
        (21, "earliest", 10),  # another log than the one the offset was kept for
        (1000, "latest", 20),
        (OLD, "earliest", 15),
        (NEW, "earliest", 20),
    ],
)
def test_where_a_seek_leads(target, initial_offset, place):
    assert seeks.resolve(Log(), ("t", 0), target, initial_offset).offset == place


def test_a_seek_beyond_the_end_is_refused_where_the_policy_is_to_stop():
    """Passed on, it was committed as progress: what was appended below it was skipped."""
    with pytest.raises(seeks.OutOfRange, match=r"seeks to offset 1000 of t\[0\], whose end is 20"):
        seeks.resolve(Log(), ("t", 0), 1000, "error")


def test_a_seek_that_fails_waits_before_it_is_tried_again(make_app, start, embedded_broker, topic_name, monkeypatch):
    """Without a pause it was tried at each turn, each time holding the owner thread up for its whole timeout."""
    from swarm_consumer import Consumer
    from swarm_consumer.events import ErrorOccurred, Sought

    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    app = make_app(max_messages=5)
    asked = []
    real = seeks.resolve

    def failing(client, *rest):
        asked.append(rest)
        if len(asked) < 3:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return real(client, *rest)

    monkeypatch.setattr(seeks, "resolve", failing)
    monkeypatch.setattr(seeks, "_backoff", seeks.Backoff(0.5, 0.5))
    sought = []

    @app.topic(topic, group=topic)
    class Handler(Consumer):
        def consume(self, messages):
            if not sought:
                sought.append(self.seek("earliest"))

    from swarm_consumer.testing import produce

    produce(embedded_broker.bootstrap, topic, [b"1"])
    running = start(app)
    done = running.wait_for_event(Sought)
    failures = running.of(ErrorOccurred)
    assert len(failures) == 2
    assert failures[1].at - failures[0].at >= 0.5
    assert done.at - failures[1].at >= 0.5
    assert running.stop() == 0
