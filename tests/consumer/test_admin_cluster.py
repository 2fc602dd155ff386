"""A cluster and the offsets of its groups: what is asked and moved, and one sentence for whatever fails."""

import os
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer import App, ConfigurationError
from swarm_consumer.admin import (
    AdminError,
    Cluster,
    PartitionOffsets,
    Position,
    check_cluster,
    cluster_check,
    group_lags,
)
from swarm_consumer.admin import _questions as questions
from swarm_consumer.testing import Record, produce

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
PASSING = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
REFUSED = KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


def answers(*given):
    """A question that is answered so, one after the other; exceptions are raised."""
    left = list(given)

    def question(left_s):
        assert left_s > 0
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return question


@pytest.fixture
def asking():
    return questions.Questions("k:9092", 5.0, {"hunter2"})


def test_what_passes_is_asked_again(asking):
    assert asking.ask(answers(PASSING, TimeoutError(), 7), "nothing is known") == 7


def test_what_does_not_pass_is_refused_with_the_reason_at_once(asking):
    with pytest.raises(AdminError, match=r"^nothing is known: Broker: Group authorization failed\.$") as caught:
        asking.ask(answers(REFUSED, 7), "nothing is known")
    assert caught.value.kind == "refused"
    assert caught.value.__cause__ is None


def test_a_deadline_that_has_passed_asks_nothing():
    late = questions.Questions("k:9092", 0.0, ())
    with pytest.raises(AdminError, match=r"no broker answers at k:9092 within 0 s: no answer\."):
        late.reach(answers())


def test_secrets_are_in_no_sentence(asking):
    error = KafkaException(KafkaError(KafkaError._AUTHENTICATION, "hunter2 is wrong"))
    with pytest.raises(AdminError, match=r"redacted.* is wrong"):
        asking.ask(answers(error), "nothing is known")


def test_a_client_needs_to_know_a_broker():
    with pytest.raises(AdminError) as caught:
        Cluster({})
    assert caught.value.kind == "no-servers"


def test_a_property_that_the_client_refuses_is_named():
    with pytest.raises(ConfigurationError, match=r"refuses its properties: .*security\.protocol"):
        Cluster({**NOWHERE, "security.protocol": "none"})


def test_a_long_wait_is_told_once(monkeypatch):
    monkeypatch.setattr(questions, "WORTH_A_WORD_S", 0.0)
    told = []
    with Cluster(NOWHERE, timeout_s=1.5, on_wait=told.append) as cluster, pytest.raises(AdminError) as caught:
        cluster.partitions()
    assert caught.value.kind == "unreachable"
    assert str(caught.value) == "no broker answers at 127.0.0.1:1 within 1.5 s: connection refused."
    assert told == ["no broker answers at 127.0.0.1:1 yet: connection refused; trying for 1.5 s"]


def test_topics_cannot_be_managed_without_a_controller(embedded_broker):
    with Cluster({"bootstrap.servers": embedded_broker.bootstrap}, timeout_s=0.5) as cluster:
        with pytest.raises(AdminError, match="names no controller") as caught:
            cluster.create_topic("t")
        assert caught.value.kind == "no-controller"
        assert cluster.topics(["t"], configured=["t"]) == {}


def test_offsets_are_seen_and_moved_and_lag_is_what_is_left(embedded_broker):
    embedded_broker.create_topic("orders", 2)
    produce(embedded_broker.bootstrap, "orders", [Record(b"x", partition=n % 2) for n in range(10)])
    kafka = {"bootstrap.servers": embedded_broker.bootstrap}
    app = App("shop", kafka=kafka)
    app.consume("orders", group="billing")(lambda messages: None)
    with Cluster(kafka) as cluster:
        assert cluster.partitions()["orders"] == 2
        assert cluster.end_offsets("orders") == {0: 5, 1: 5}
        assert cluster.end_offsets("none") == {}
        group = cluster.group("billing")
        assert group.committed("orders") == {}
        first, second = group.offsets([("orders", 0), ("orders", 1)])
        assert first == PartitionOffsets(topic="orders", partition=0, committed=None, start=0, end=5)
        group.commit({("orders", 0): first.moved_to(Position.parse("3")).after})
        assert group.committed("orders") == {0: 3}
        assert group.offsets([]) == []
    (lag,) = group_lags(app.subscription_groups())
    assert (lag.group, lag.total, [lag.of(each) for each in lag.partitions]) == ("billing", 7, [2, 5])
    assert second.committed is None


def test_with_a_timeout_of_0_each_question_is_asked_once_all_the_same(embedded_broker):
    embedded_broker.create_topic("orders", 2)
    with Cluster({"bootstrap.servers": embedded_broker.bootstrap}, timeout_s=0) as cluster:
        assert cluster.partitions()["orders"] == 2
    with Cluster(NOWHERE, timeout_s=0) as cluster, pytest.raises(AdminError, match="connection refused"):
        cluster.partitions()


@pytest.mark.parametrize("name", ["", None, 5, "\ud800"])
def test_a_name_that_no_group_can_have_is_refused(name):
    """The client's C code ended the whole process with an assertion."""
    with Cluster(NOWHERE) as cluster, pytest.raises(AdminError, match="is not the name of a group"):
        cluster.group(name)


def test_a_partition_that_is_refused_is_no_partition_without_a_commit(embedded_broker):
    """It was shown as one of which nothing is committed, or as offset 0: lag and the plan of a seek were wrong."""
    embedded_broker.create_topic("orders", 1)
    kafka = {"bootstrap.servers": embedded_broker.bootstrap}
    with Cluster(kafka, timeout_s=1.0) as cluster:
        group = cluster.group("billing")
        for call in (lambda: group.offsets([("orders", 9)]), lambda: group.at_time([("orders", 0), ("orders", 9)], 0)):
            with pytest.raises(AdminError, match=r"not known: .*[Uu]nknown"):
                call()
        assert group.at_time([], 0) == {}
        group.commit({})
        with pytest.raises(AdminError, match=r"^the committed offsets are not known: .*[Uu]nknown"):
            group.offsets([("orders", 0), ("orders", 9)])


def test_a_commit_keeps_the_timeout_too():
    """It took 45 s."""
    began = time.monotonic()
    refused = pytest.raises(AdminError, match="the offsets of group 'billing' were not changed")
    with Cluster(NOWHERE, timeout_s=0.5) as cluster, refused:
        cluster.group("billing").commit({("orders", 0): 1})
    assert time.monotonic() - began < 20.0


def test_a_check_that_was_answered_late_still_asks_for_the_other_groups(embedded_broker, monkeypatch):
    """The report said that the brokers are reachable, and had nothing of the topics of the second group."""
    embedded_broker.create_topic("orders", 2)

    class Late(questions.Questions):
        def until(self, *arguments):
            if self.timeout_s <= 0:
                raise questions.UnansweredError("too late")
            self.timeout_s = 10.0
            answer = super().until(*arguments)
            time.sleep(0.1)
            return answer

    monkeypatch.setattr(cluster_check, "Questions", Late)
    app = App("shop", kafka={"bootstrap.servers": embedded_broker.bootstrap})
    app.consume("orders", group="billing")(lambda messages: None)
    app.consume("missing", group="mails")(lambda messages: None)
    report = check_cluster(app, timeout_s=0.05)
    assert (report.reachable, report.error) == (True, None)
    assert report.topics == {"orders": 2, "missing": None}


def test_a_topic_that_a_group_reads_and_that_is_not_there_is_named(embedded_broker):
    app = App("shop", kafka={"bootstrap.servers": embedded_broker.bootstrap})
    app.consume("missing", group="billing")(lambda messages: None)
    with pytest.raises(AdminError, match="topic 'missing' of group 'billing' does not exist") as caught:
        group_lags(app.subscription_groups())
    assert caught.value.kind == "no-topic"


def test_a_closed_cluster_says_so_and_leaves_no_thread_even_while_its_error_is_kept(embedded_broker):
    before = set(os.listdir("/proc/self/task"))
    with Cluster({"bootstrap.servers": embedded_broker.bootstrap}) as cluster:
        with pytest.raises(AdminError) as kept:
            cluster.group("billing").committed("none")
        group = cluster.group("billing")
    assert kept.value.__traceback__ is not None
    assert set(os.listdir("/proc/self/task")) <= before
    for call in (cluster.partitions, group.members, lambda: group.committed("none")):
        with pytest.raises(AdminError, match="is closed: make another Cluster"):
            call()
