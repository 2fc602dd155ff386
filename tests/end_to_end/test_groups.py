"""Offsets of a group moved on a real broker: shown first, done with --yes, refused while the group is at work."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from swarm_consumer.testing import KafkaBroker, Record, await_committed, committed_offsets, produce

BASE_MS = 1000 * (int(time.time()) - 3600)  # recent: the broker deletes what is older than a week


@pytest.fixture
def read_group(kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str], start_swarm: Any) -> Any:
    """(topic, group) of a group that has read ten records of two partitions, a second apart, and has stopped."""
    topic, group = topic_name("orders"), topic_name("billing")
    kafka_broker.create_topic(topic, 2)
    produce(
        kafka_broker.bootstrap,
        topic,
        [Record(b"x", partition=number % 2, timestamp_ms=BASE_MS + 1000 * (number // 2)) for number in range(20)],
    )
    return topic, group


def read_everything(broker: KafkaBroker, topic: str, group: str, start_swarm: Any) -> None:
    server = start_swarm(
        "server", "tests.end_to_end.apps.declared:app",
        SERVERS=broker.bootstrap, GROUPS=json.dumps({group: {topic: {}}}),
    )  # fmt: skip
    await_committed(broker.bootstrap, group, topic)
    assert server.stop() == 0, server.output()


def test_a_seek_is_shown_first_and_done_with_yes(
    kafka_broker: KafkaBroker, declared_app: Any, read_group: Any, start_swarm: Any
) -> None:
    topic, group = read_group
    read_everything(kafka_broker, topic, group, start_swarm)
    groups = {group: {topic: {}}}

    def seek(*arguments: str) -> Any:
        return declared_app(kafka_broker, "groups", "seek", "--group", group, *arguments, groups=groups)

    dry = seek("--to", "earliest")
    assert dry.returncode == 0, dry.stderr
    assert "Dry run: nothing was changed." in dry.stdout
    assert committed_offsets(kafka_broker.bootstrap, group, topic) == {0: 10, 1: 10}

    moment = datetime.fromtimestamp(BASE_MS / 1000 + 4, UTC).isoformat()
    for to, only, expected in [
        ("4", ["--partition", "1"], {0: 10, 1: 4}),
        ("-3", [], {0: 7, 1: 1}),
        ("latest", [], {0: 10, 1: 10}),
        ("-100", [], {0: 0, 1: 0}),
        (moment, [], {0: 4, 1: 4}),
        ("2100-01-01T00:00Z", ["--partition", "0"], {0: 10, 1: 4}),
        ("earliest", [], {0: 0, 1: 0}),
    ]:
        done = seek("--to", to, *only, "--yes")
        assert done.returncode == 0, done.stderr
        assert "Moved " in done.stdout
        assert committed_offsets(kafka_broker.bootstrap, group, topic) == expected, to

    told = json.loads(seek("--to", "99", "--json").stdout)
    assert told["done"] is False
    assert [(move["after"], move["note"]) for move in told["moves"]] == [(10, "99 does not exist")] * 2


def test_what_a_group_reads_again_after_a_reset_is_everything(
    kafka_broker: KafkaBroker, declared_app: Any, read_group: Any, start_swarm: Any
) -> None:
    topic, group = read_group
    read_everything(kafka_broker, topic, group, start_swarm)
    done = declared_app(kafka_broker, "groups", "reset", "--group", group, "--yes", groups={group: {topic: {}}})
    assert done.returncode == 0, done.stderr
    assert committed_offsets(kafka_broker.bootstrap, group, topic) == {0: 0, 1: 0}
    read_everything(kafka_broker, topic, group, start_swarm)
    latest = {group: {topic: {"initial_offset": "latest"}}}
    done = declared_app(kafka_broker, "groups", "reset", "--group", group, "--yes", groups=latest)
    assert "Nothing to do." in done.stdout


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_at_work_is_not_moved(
    kafka_broker: KafkaBroker, declared_app: Any, read_group: Any, start_swarm: Any, protocol: str
) -> None:
    topic, group = read_group
    groups = {group: {topic: {}}}
    server = start_swarm(
        "server", "tests.end_to_end.apps.declared:app", "--kafka", f"group.protocol={protocol}",
        SERVERS=kafka_broker.bootstrap, GROUPS=json.dumps(groups),
    )  # fmt: skip
    await_committed(kafka_broker.bootstrap, group, topic)
    arguments = ("groups", "seek", "--group", group, "--to", "earliest", "--kafka", f"group.protocol={protocol}")
    dry = declared_app(kafka_broker, *arguments, groups=groups)
    assert "has 1 member: stop them first" in dry.stdout
    refused = declared_app(kafka_broker, *arguments, "--yes", groups=groups)
    assert refused.returncode == 1
    assert "has members" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert committed_offsets(kafka_broker.bootstrap, group, topic) == {0: 10, 1: 10}
    assert server.stop() == 0
    assert declared_app(kafka_broker, *arguments, "--yes", groups=groups).returncode == 0
    assert committed_offsets(kafka_broker.bootstrap, group, topic) == {0: 0, 1: 0}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["seek", "--group", "biling", "--to", "earliest"], "did you mean 'billing'?"),
        (["seek", "--group", "billing", "--to", "yesterday"], "is not a position: give earliest, latest"),
        (["seek", "--group", "billing", "--to", "2026-11-21T06:00"], "has no time zone"),
        (["seek", "--group", "billing", "--to", "+5"], "has no committed offset to go +5 from"),
        (["seek", "--group", "billing", "--to", "1", "--partition", "7"], "has partition 7"),
        (["reset", "--group", "strict"], "initial_offset 'error'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    embedded_broker: Any, declared_app: Any, arguments: list[str], says: str
) -> None:
    embedded_broker.create_topic("orders", 1)
    groups = {"billing": {"orders": {}}, "strict": {"orders": {"initial_offset": "error"}}}
    done = declared_app(embedded_broker, "groups", *arguments, groups=groups)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
