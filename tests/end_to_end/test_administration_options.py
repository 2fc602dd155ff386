"""Every option of routes, topics, lag and groups, in text and JSON, on a real broker; a table that leaves none out."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from swarm_cli.main import program
from swarm_consumer.testing import KafkaBroker, Record, committed_offsets, produce

COMMANDS = ("routes", "lag", "topics plan", "topics migrate", "topics create", "topics repartition", "topics delete",
            "groups seek", "groups reset")  # fmt: skip
NOT_HERE = {"--help", "-h", "--help-all"}
HERE = "--bootstrap-servers {servers} --kafka socket.timeout.ms=30000 --connect-timeout 60"
FILTERS = "--include-consumer-groups {billing} --exclude-consumer-groups * --include-subscription-groups {billing} "
FILTERS += "--exclude-subscription-groups *"

# What is run, with which exit code, and what it must say: a text, or what its JSON must have.
ROWS: list[tuple[str, int, Any]] = [
    ("routes --json --bootstrap-servers none:1 --kafka linger.ms=5 --include-topics {orders} --exclude-topics * "
     + FILTERS, 0, lambda told, _: {each["topic"] for each in told if each["runs"] == "yes"} == {_["orders"]}),
    ("routes --bootstrap-servers none:1", 0, "{legacy}"),
    ("topics plan --json --detailed-exitcode --include-topics *orders* --exclude-topics * " + HERE, 2,
     lambda told, _: [(each["action"], each["made"]) for each in told["changes"]] == [("repartition", False)]),
    ("topics plan " + HERE, 0, "2 changes to make: swarm-cli topics migrate applies them."),
    ("topics create --detailed-exitcode --include-topics {refunds} --exclude-topics {refunds} " + HERE, 2,
     "+ {refunds}: create with 1 partition"),
    ("topics create --json " + HERE, 0, lambda told, _: told["changes"] == []),
    ("topics repartition --json --detailed-exitcode --include-topics {orders} --exclude-topics * " + HERE, 2,
     lambda told, _: [(each["after"], each["made"], each["error"]) for each in told["changes"]] == [(3, True, None)]),
    ("topics repartition " + HERE, 0, "Nothing to do."),
    ("topics migrate --json --detailed-exitcode --include-topics {orders} --exclude-topics {orders} " + HERE, 0,
     lambda told, _: told == {"changes": [], "notes": []}),
    ("topics migrate " + HERE, 0, "Nothing to do."),
    ("lag --json --include-topics {orders} --exclude-topics * " + FILTERS + " " + HERE, 0,
     lambda told, _: [(each["group"], each["lag"]) for each in told] == [(_["billing"], 10)]),
    ("lag " + HERE, 0, "{legacy}"),
    ("groups seek --group {billing} --to 3 --partition 1 --json --include-topics {orders} --exclude-topics * " + HERE,
     0, lambda told, _: (told["done"], [move["after"] for move in told["moves"]]) == (False, [3])),
    ("groups seek --group {billing} --to 3 --partition 1 --yes " + HERE, 0, "Moved 1 partition of group {billing}."),
    ("groups reset --group {billing} --partition 0 " + HERE, 0, "Dry run: nothing was changed."),
    ("groups reset --group {billing} --partition 0 --yes --json --include-topics {orders} --exclude-topics * " + HERE,
     0, lambda told, _: (told["done"], [move["after"] for move in told["moves"]]) == (True, [0])),
    ("topics delete --json --detailed-exitcode " + HERE, 1, "repeat it with --yes"),
    ("topics delete --yes --json --detailed-exitcode --include-topics {refunds} --exclude-topics * " + HERE, 2,
     lambda told, _: [(each["topic"], each["made"]) for each in told["changes"]] == [(_["refunds"], True)]),
    ("topics delete --include-topics {refunds} " + HERE, 0, "Nothing to do."),
]  # fmt: skip


def found_command(command: str) -> Any:
    """A command, or a group of them, of the program itself."""
    import typer.main

    found: Any = typer.main.get_command(program)
    for word in command.split():
        found = found.commands[word]
    return found


def options(command: str) -> set[str]:
    """Every option of a command, as the program itself has them."""
    found = found_command(command)
    return {name for parameter in found.params for name in parameter.opts if name.startswith("-")}


def test_the_table_leaves_no_command_out() -> None:
    there = {f"{group} {name}" for group in ("topics", "groups") for name in found_command(group).commands}
    assert {command for command in COMMANDS if " " in command} == there


def test_the_table_leaves_no_option_out() -> None:
    for command in COMMANDS:
        rows = [row for row, *_ in ROWS if row.startswith(command)]
        used = {word for row in rows for word in row.split() if word.startswith("--")}
        assert used == options(command) - NOT_HERE, command
        assert any("--json" in row for row in rows)
        assert any("--json" not in row for row in rows)


@pytest.mark.timeout(400)  # 19 processes, one after the other, and the start of the broker: 25 s on a quiet machine
def test_every_option_does_what_it_says_and_no_more(
    kafka_broker: KafkaBroker, declared_app: Any, topic_name: Callable[..., str]
) -> None:
    names = {name: topic_name(name) for name in ("orders", "refunds", "legacy", "billing", "audit")}
    names["servers"] = kafka_broker.bootstrap
    kafka_broker.create_topic(names["orders"], 2)
    kafka_broker.create_topic(names["legacy"], 1)
    produce(kafka_broker.bootstrap, names["orders"], [Record(b"x", partition=n % 2) for n in range(20)])
    client = Consumer({"bootstrap.servers": kafka_broker.bootstrap, "group.id": names["billing"], "log_level": 0})
    client.commit(offsets=[TopicPartition(names["orders"], n, 5) for n in (0, 1)], asynchronous=False)
    client.close()

    class Nowhere:
        bootstrap = "127.0.0.1:1"  # what the code says: --bootstrap-servers must win

    declared = {names["orders"]: {"partitions": 3}, names["refunds"]: {"partitions": 1}}
    groups = {names["billing"]: {names["orders"]: {}}, names["audit"]: {names["legacy"]: {}}}
    for row, code, says in ROWS:
        arguments = [word.format(**names) for word in row.split()]
        done = declared_app(Nowhere, *arguments, declared=declared, groups=groups)
        assert done.returncode == code, (row, done.stdout, done.stderr)
        if callable(says):
            assert says(json.loads(done.stdout), names), (row, done.stdout)
        else:
            assert says.format(**names) in done.stdout + done.stderr, (row, done.stdout, done.stderr)
    topics = AdminClient({"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0}).list_topics(timeout=10).topics
    left = {name: len(topics[name].partitions) for name in names.values() if name in topics}
    assert left == {names["orders"]: 3, names["legacy"]: 1}, "what is not declared or not named is as it was"
    assert committed_offsets(kafka_broker.bootstrap, names["billing"], names["orders"]) == {0: 0, 1: 3}


def test_without_a_broker_each_is_one_sentence_with_the_address(declared_app: Any) -> None:
    class Nowhere:
        bootstrap = "127.0.0.1:1"

    for row in ("lag", "groups seek --group billing --to latest", "groups reset --group billing --yes",
                "topics migrate", "topics delete --yes"):  # fmt: skip
        done = declared_app(
            Nowhere, *row.split(), "--connect-timeout", "0.5",
            declared={"orders": {"partitions": 1}}, groups={"billing": {"orders": {}}},
        )  # fmt: skip
        assert done.returncode == 1, row
        assert "no broker answers at 127.0.0.1:1 within 0.5 s" in done.stderr, row
        assert done.stderr.count("connection refused") == 1, row
        assert done.stderr.count("\n") == 1, row


def test_a_property_that_does_not_exist_is_named(embedded_broker: Any, declared_app: Any) -> None:
    embedded_broker.create_topic("orders", 1)
    for row in ("lag", "groups seek --group billing --to latest"):
        done = declared_app(
            embedded_broker, *row.split(), "--kafka", "no.such=1",
            declared={"orders": {"partitions": 1}}, groups={"billing": {"orders": {}}},
        )  # fmt: skip
        assert done.returncode == 2, row
        assert "no.such" in done.stderr, row
        assert done.stderr.count("\n") == 1, row
