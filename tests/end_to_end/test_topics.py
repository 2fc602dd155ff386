"""Topics as declared: planned, made, grown, configured, deleted, on a real broker; nothing else is touched."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from swarm_consumer.testing import KafkaBroker, committed_offsets, end_offsets, produce

ROOT = Path(__file__).resolve().parent.parent.parent


def partitions(broker: KafkaBroker) -> dict[str, int]:
    topics = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0}).list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def configuration(broker: KafkaBroker, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in future.result(10).items()}


def test_a_plan_says_what_migrate_then_does_and_nothing_is_left(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    new, grown, kept, other = (topic_name(name) for name in ("new", "grown", "kept", "other"))
    for name, count in ((grown, 2), (kept, 4), (other, 3)):
        kafka_broker.create_topic(name, count)
    declared = {
        new: {
            "partitions": 3,
            "replication": 1,
            "config": {"retention.ms": 3600000, "cleanup.policy": "compact,delete"},
        },
        grown: {"partitions": 5, "config": {"retention.ms": 7200000}},
        kept: {"partitions": 1, "replication": 3, "config": {"cleanup.policy": "delete"}},
    }
    before = partitions(kafka_broker)
    plan = declared_app(kafka_broker, "topics", "plan", "--json", "--detailed-exitcode", declared=declared)
    assert plan.returncode == 2, plan.stderr
    told = json.loads(plan.stdout)
    assert [(change["action"], change["topic"]) for change in told["changes"]] == [
        ("repartition", grown), ("configure", grown), ("create", new),
    ]  # fmt: skip
    assert [note.split()[0] for note in told["notes"]] == [kept, kept]
    assert "never taken away" in told["notes"][0]
    assert partitions(kafka_broker) == before, "a plan changes nothing"

    migrated = declared_app(kafka_broker, "topics", "migrate", declared=declared)
    assert migrated.returncode == 0, migrated.stderr
    assert f"~ {grown}: 2 -> 5 partitions" in migrated.stdout
    assert "3 changes made." in migrated.stdout
    assert partitions(kafka_broker) == before | {new: 3, grown: 5}
    assert configuration(kafka_broker, new)["cleanup.policy"] == "compact,delete"
    assert configuration(kafka_broker, grown)["retention.ms"] == "7200000"

    again = declared_app(kafka_broker, "topics", "plan", "--detailed-exitcode", declared=declared)
    assert again.returncode == 0, again.stdout
    assert "Nothing to do." in again.stdout


def test_create_and_repartition_do_each_their_own_part(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    new, grown = topic_name("new"), topic_name("grown")
    kafka_broker.create_topic(grown, 1)
    declared = {new: {"partitions": 2}, grown: {"partitions": 2, "config": {"retention.ms": 1000}}}
    done = declared_app(kafka_broker, "topics", "repartition", "--detailed-exitcode", declared=declared)
    assert done.returncode == 2, done.stderr
    assert partitions(kafka_broker)[grown] == 2
    assert new not in partitions(kafka_broker)
    assert declared_app(kafka_broker, "topics", "create", declared=declared).returncode == 0
    assert partitions(kafka_broker)[new] == 2
    assert configuration(kafka_broker, grown)["retention.ms"] != "1000"


def test_filters_and_a_failure_leave_the_rest_as_it_should_be(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    bad, good, left = topic_name("bad"), topic_name("good"), topic_name("left")
    declared = {
        bad: {"partitions": 1, "config": {"no.such.setting": "1"}}, good: {"partitions": 1}, left: {"partitions": 1},
    }  # fmt: skip
    done = declared_app(
        kafka_broker, "topics", "migrate", "--exclude-topics", left, "--detailed-exitcode", declared=declared
    )
    assert done.returncode == 1
    assert "no.such.setting" in done.stderr
    assert "1 of 2 changes could not be made" in done.stderr
    assert "Traceback" not in done.stderr
    assert good in partitions(kafka_broker)
    assert not {bad, left} & partitions(kafka_broker).keys()


def test_delete_asks_and_touches_only_what_is_declared(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    mine, filtered, other = topic_name("mine"), topic_name("filtered"), topic_name("other")
    for name in (mine, filtered, other):
        kafka_broker.create_topic(name, 1)
    declared = {mine: {"partitions": 1}, filtered: {"partitions": 1}, topic_name("absent"): {"partitions": 1}}
    arguments = ("topics", "delete", "--exclude-topics", filtered)
    refused = declared_app(kafka_broker, *arguments, declared=declared)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert mine in partitions(kafka_broker)

    # At a terminal it asks, takes silence for no, and yes for yes.
    environment = os.environ | {
        "SERVERS": kafka_broker.bootstrap, "DECLARED": json.dumps(declared),
        "SWARM_APP": "tests.end_to_end.apps.declared:app",
    }  # fmt: skip

    def answered(answer: bytes) -> "subprocess.CompletedProcess[str]":
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        asked = subprocess.run(
            [sys.executable, "-m", "swarm_cli", *arguments],
            cwd=ROOT, env=environment, stdin=theirs, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        os.close(ours)
        os.close(theirs)
        assert asked.returncode == 0, asked.stderr
        return asked

    assert "Nothing was deleted" in answered(b"\n").stdout
    assert mine in partitions(kafka_broker)
    done = answered(b"y\n")
    assert f"- {mine}" in done.stdout
    assert mine not in partitions(kafka_broker)
    assert {filtered, other} <= partitions(kafka_broker).keys()


@pytest.mark.parametrize(
    ("arguments", "declared", "says"),
    [
        (["plan"], {}, "declares no topic"),
        (["plan", "--include-topics", "order"], {"orders": {"partitions": 1}}, "did you mean 'orders'?"),
        (["delete", "--exclude-topics", "*"], {"orders": {"partitions": 1}}, "the filters leave none"),
    ],
)
@pytest.mark.parametrize("detailed", [[], ["--detailed-exitcode"]])
def test_errors_are_2_and_1_where_2_means_changes(
    embedded_broker: Any, declared_app: Any, arguments: list[str], declared: Any, says: str, detailed: list[str]
) -> None:
    done = declared_app(embedded_broker, "topics", *arguments, *detailed, declared=declared)
    assert done.returncode == (1 if detailed else 2)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_broker_is_one_sentence_with_the_address(embedded_broker: Any, declared_app: Any) -> None:
    embedded_broker.kill()
    done = declared_app(
        embedded_broker, "topics", "plan", "--connect-timeout", "1", declared={"orders": {"partitions": 1}}
    )
    assert done.returncode == 1
    assert f"no broker answers at {embedded_broker.bootstrap} within 1 s" in done.stderr
    assert done.stderr.count("\n") == 1


def test_records_of_a_grown_topic_are_still_there(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    topic = topic_name("grown")
    kafka_broker.create_topic(topic, 1)
    produce(kafka_broker.bootstrap, topic, [b"1", b"2"])
    done = declared_app(kafka_broker, "topics", "migrate", declared={topic: {"partitions": 3}})
    assert done.returncode == 0, done.stderr
    assert end_offsets(kafka_broker.bootstrap, topic) == {0: 2, 1: 0, 2: 0}
    assert committed_offsets(kafka_broker.bootstrap, "nobody", topic) == {}
