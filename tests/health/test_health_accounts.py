"""The books of a swarm: counters only grow whatever happens, and a partition that nobody has is shown so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_health import Accounts, NodeStatistics, PartitionStatistics, TopicStatistics, Totals
from swarm_health import accounts as module
from swarm_health.accounts import JOINING_S, MOVING_S


def told(*rows, messages=0, topics=()):
    return NodeStatistics(messages=messages, partitions=list(rows), topics=list(topics))


def row(partition=0, group="billing", **figures):
    return PartitionStatistics("orders", partition, group=group, **figures)


def test_two_groups_of_one_topic_are_two_partitions():
    books = Accounts()
    books.take(0, 1, told(row(group="billing", lag=0, messages=50), row(group="audit", lag=50, errors=3)), 1.0)
    assert [(one.group, one.lag, one.messages, one.errors) for one in books.partitions(1.0)] == [
        ("audit", 50, 0, 3),
        ("billing", 0, 50, 0),
    ]


def test_a_partition_of_a_dead_process_stays_with_what_was_last_known_until_somebody_has_it():
    books = Accounts()
    books.take(0, 1, told(row(lag=7, lag_s=2.5, position=3, in_flight_age_s=1.0)), 1.0)
    books.ended(0, 1, 10.0)
    (orphan,) = books.partitions(13.0)
    assert (orphan.node, orphan.unowned_s, orphan.lag, orphan.position) == (None, 3.0, 7, 3)
    assert orphan.in_flight_age_s is None, "nobody works on it"
    books.take(1, 4, told(row(lag=None)), 14.0)
    (taken,) = books.partitions(14.5)
    assert (taken.node, taken.unowned_s, taken.lag) == (1, None, 7), "unknown is neither 0 nor a gap"
    books.take(1, 4, told(row(lag=1)), 15.0)
    assert [one.lag for one in books.partitions(15.0)] == [1]


def test_a_lag_that_its_owner_knows_no_longer_is_not_shown_for_ever():
    books = Accounts()
    books.take(0, 1, told(row(lag=7, position=3)), 1.0)
    for second in range(2, 40):  # as a client without statistics, which has handled all that came
        books.take(0, 1, told(row(lag=None, position=10)), float(second))
        assert [one.lag for one in books.partitions(float(second))] == [7 if second < 2 + MOVING_S else None]
    books.take(0, 1, told(row(lag=0, position=10)), 40.0)
    assert [one.lag for one in books.partitions(40.0)] == [0]


def shown(books, now):
    return [one.unowned_s for one in books.partitions(now)]


def test_a_partition_that_went_to_another_swarm_is_forgotten():
    books = Accounts()
    books.take(0, 1, told(row()), 1.0)
    books.take(0, 1, told(), 10.0)
    assert shown(books, 9.0 + MOVING_S) == [MOVING_S - 1.0]
    assert shown(books, 10.0 + MOVING_S) == []


@pytest.mark.parametrize("in_order", [False, True])
def test_a_partition_of_a_dead_process_is_kept_until_there_is_a_successor(in_order):
    """A process that stops in order gives its partitions back first, and tells that: it makes no difference."""
    books = Accounts()
    books.take(0, 1, told(row(0), row(1)), 1.0)
    if in_order:
        books.take(0, 1, told(), 9.9)
    books.ended(0, 1, 10.0)
    assert len(shown(books, 5000.0)) == 2, "nobody has come back"
    books.take(0, 2, told(), 5000.0)
    books.take(0, 2, told(row(0)), 5001.0)
    assert shown(books, 5000.0 + MOVING_S)[0] is None
    assert len(shown(books, 5000.9 + MOVING_S)) == 2
    assert shown(books, 5001.0 + MOVING_S) == [None], "it works, and the other partition is not here"


def test_a_successor_that_gets_nothing_means_that_others_have_it():
    books = Accounts()
    books.take(0, 1, told(row(0)), 1.0)
    books.ended(0, 1, 10.0)
    books.take(0, 2, told(), 20.0)
    assert len(shown(books, 19.0 + JOINING_S)) == 1
    books.ended(0, 2, 21.0)
    books.take(0, 3, told(), 90.0)
    assert len(shown(books, 89.0 + JOINING_S)) == 1, "successors that die young have not come back"
    assert shown(books, 90.0 + JOINING_S) == []


def test_what_a_node_had_that_was_removed_is_soon_elsewhere():
    books = Accounts()
    books.take(0, 1, told(row(0)), 1.0)
    books.ended(0, 1, 10.0)
    books.removed(0, 10.0)
    assert len(shown(books, 9.0 + MOVING_S)) == 1
    assert shown(books, 10.0 + MOVING_S) == []


def test_a_late_word_of_the_old_owner_does_not_take_a_partition_from_the_new_one():
    books = Accounts()
    books.take(0, 1, told(row()), 1.0)
    books.take(1, 1, told(row()), 2.0)
    books.take(0, 1, told(), 3.0)
    assert [one.node for one in books.partitions(3.0)] == [1]
    books.ended(0, 1, 4.0)
    assert [one.node for one in books.partitions(4.0)] == [1]


def test_two_owners_that_let_go_one_after_the_other_are_no_trouble():
    books = Accounts()
    books.take(1, 1, told(row()), 1.0)
    books.take(0, 1, told(row()), 2.0)
    books.take(0, 1, told(), 3.0)
    assert books.partitions(3.0 + MOVING_S) == []
    books.take(1, 1, told(), 4.0 + MOVING_S)
    books.ended(1, 1, 5.0 + MOVING_S)
    assert books.partitions(6.0 + MOVING_S) == []


def test_sums_outlive_processes_nodes_and_rebalances():
    books = Accounts()
    books.take(0, 1, told(row(messages=30), messages=30, topics=[TopicStatistics("billing", "orders", 30)]), 1.0)
    books.ended(0, 1, 2.0)
    books.take(0, 2, told(messages=5, topics=[TopicStatistics("billing", "orders", 5)]), 3.0)
    books.take(1, 1, told(row(messages=2), messages=2, topics=[TopicStatistics("billing", "orders", 2)]), 3.0)
    assert books.node(0).messages == 35
    assert books.node(7) == Totals()
    assert books.total().messages == 37
    assert [one.messages for one in books.topics()] == [37]
    assert [one.messages for one in books.partitions(3.0)] == [32]


def test_beyond_the_bound_topics_and_partitions_are_summed_up(monkeypatch):
    monkeypatch.setattr(module, "MOST_TOPICS", 2)
    monkeypatch.setattr(module, "MOST_PARTITIONS", 2)
    books = Accounts()
    for turn in (1, 2):
        topics = [TopicStatistics("g", f"t{number}", messages=turn) for number in range(5)]
        books.take(0, 1, told(*(row(number) for number in range(5)), topics=topics), float(turn))
    assert [(one.topic, one.messages) for one in books.topics()] == [("t0", 2), ("t1", 2), ("other", 6)]
    assert len(books.partitions(2.0)) == 2


# Random histories: processes that count, take and give partitions, die and come again, and now and then say less.
_turns = st.lists(
    st.tuples(
        st.sampled_from(["work", "work", "work", "move", "die", "lie"]),
        st.integers(0, 2),  # node
        st.integers(0, 3),  # partition
        st.integers(0, 50),  # messages
        st.floats(0.0, 400.0),  # seconds
    ),
    max_size=60,
)


class Process:
    def __init__(self):
        self.counts = {}
        self.mine = set()

    def report(self, shrink=1):
        return told(
            *(row(one, messages=self.counts.get(one, 0) // shrink) for one in sorted(self.mine)),
            messages=sum(self.counts.values()) // shrink,
            topics=[
                TopicStatistics(
                    "billing", "orders", sum(self.counts.values()) // shrink, durations=[sum(self.counts.values())]
                )
            ],
        )


@settings(max_examples=1500, deadline=None)
@given(_turns)
def test_counters_only_grow(turns):
    books, now = Accounts(), 0.0
    generations, processes = dict.fromkeys(range(3), 1), {node: Process() for node in range(3)}
    done = 0
    before = ({}, {}, {}, Totals())
    for what, node, partition, messages, pause in turns:
        now += pause
        process = processes[node]
        if what == "die":
            books.ended(node, generations[node], now)
            generations[node] += 1
            processes[node] = Process()
        else:
            if what == "move":
                process.mine ^= {partition}
            elif what == "work" and partition in process.mine:
                process.counts[partition] = process.counts.get(partition, 0) + messages
                done += messages
            books.take(node, generations[node], process.report(2 if what == "lie" else 1), now)
        after = (
            {one: books.node(one).messages for one in range(3)},
            {(one.group, one.topic): one for one in books.topics()},
            books.counted(),
            books.total(),
        )
        assert all(after[0][one] >= count for one, count in before[0].items())
        for place, topic in before[1].items():
            assert after[1][place].messages >= topic.messages
            assert all(a >= b for a, b in zip(after[1][place].durations, topic.durations, strict=False))
        assert all(a >= b for key, counts in before[2].items() for a, b in zip(after[2][key], counts, strict=True))
        assert after[3].messages >= before[3].messages
        before = after
        assert sum(one.messages for one in books.partitions(now)) <= books.total().messages <= done
    if not any(what == "lie" for what, *_ in turns):
        assert books.total().messages == done == sum(one.messages for one in books.topics())
