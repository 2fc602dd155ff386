from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from swarm_health import PartitionStatistics, TopicStatistics
from swarm_liveness._judging.memory_watch import MemoryState
from swarm_liveness._judging.node_statistics import combined_statistics
from swarm_liveness.settings import Limits

MEMORY = MemoryState(rss_mb=120.0, uss_mb=14.0, pss_mb=40.0)


def test_ages_memory_and_cpu_are_added_and_win(poll: Any, run: Any) -> None:
    numbers = {"state": "running", "messages": 7, "rss_mb": 1.0, "poll_age_s": 99.0}
    polls = [poll("a", last_poll=4.0), poll("b", last_poll=9.0), poll("c", last_poll=None)]
    made = combined_statistics(numbers, polls, [run(started=8.0), run(started=2.0)], MEMORY, 3.5, 10.0)
    assert (made.state, made.messages, made.cpu_s) == ("running", 7, 3.5)
    assert (made.poll_age_s, made.in_flight_age_s) == (6.0, 8.0)
    assert (made.rss_mb, made.uss_mb, made.pss_mb) == (120.0, 14.0, 40.0)


def test_nothing_in_flight_and_nothing_polled_is_none() -> None:
    made = combined_statistics({}, [], [], MemoryState(), 0.0, 10.0)
    assert made.poll_age_s is None
    assert made.in_flight_age_s is None
    assert made.rss_mb is None


def test_partitions_may_be_mappings_objects_or_the_real_thing() -> None:
    entries = [
        {"topic": "t", "partition": 0, "lag": 5, "colour": "red"},
        SimpleNamespace(topic="t", partition=1, lag=None, messages=3),
        PartitionStatistics(topic="t", partition=2),
    ]
    made = combined_statistics({"partitions": entries}, [], [], MEMORY, 0.0, 0.0)
    assert [(p.topic, p.partition, p.lag, p.messages) for p in made.partitions] == [
        ("t", 0, 5, 0),
        ("t", 1, None, 3),
        ("t", 2, None, 0),
    ]


def test_unknown_keys_go_to_extra_when_they_are_plain() -> None:
    numbers = {"extra": {"cache_hits": 3}, "queue": 4, "mood": "good", "object": object()}
    made = combined_statistics(numbers, [], [], MEMORY, 0.0, 0.0)
    assert made.extra == {"cache_hits": 3, "queue": 4, "mood": "good"}


def test_partitions_of_the_wrong_kind_are_refused_with_a_sentence() -> None:
    with pytest.raises(TypeError, match="give a sequence"):
        combined_statistics({"partitions": 3}, [], [], MEMORY, 0.0, 0.0)


def test_a_group_that_was_never_polled_has_an_age(poll: Any) -> None:
    polls = [poll("a", last_poll=9.0), poll("hangs", last_poll=None)]
    made = combined_statistics({}, polls, [], MEMORY, 0.0, 10.0, Limits(), {"hangs": 2.0})
    assert made.poll_age_s == 8.0


def test_topics_may_be_mappings_and_partitions_carry_their_group_and_limit(poll: Any) -> None:
    numbers = {
        "partitions": [
            {"topic": "t", "partition": 0, "group": "own", "in_flight_limit_s": 3600.0},
            {"topic": "t", "partition": 0, "group": "audit"},
        ],
        "topics": [{"group": "audit", "topic": "t", "messages": 4, "colour": "red"}],
    }
    polls = [poll("audit", max_poll_interval_s=120.0)]
    made = combined_statistics(numbers, polls, [], MEMORY, 0.0, 0.0)
    assert [(one.group, one.in_flight_limit_s) for one in made.partitions] == [("own", 3600.0), ("audit", 120.0)]
    assert made.topics == [TopicStatistics("audit", "t", messages=4)]
    limited = combined_statistics(numbers, polls, [], MEMORY, 0.0, 0.0, Limits(consuming_ttl=60.0))
    assert [one.in_flight_limit_s for one in limited.partitions] == [3600.0, 60.0], "the topic's own wins"
