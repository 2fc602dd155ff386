"""Filters on a live broker: what is chosen is consumed, what is not is left alone, the same in both commands."""

from collections.abc import Callable
from typing import Any

import pytest

from swarm_consumer.testing import await_committed, committed_offsets, produce

NAMES = ("ORDERS", "REFUNDS", "BILLING", "AUDIT")


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ("--exclude-topics {REFUNDS}", {("ORDERS", "BILLING"), ("ORDERS", "AUDIT")}),
        (
            "--include-consumer-groups {BILLING} --exclude-consumer-groups *",
            {("ORDERS", "BILLING"), ("REFUNDS", "BILLING")},
        ),
    ],
    ids=["a topic excluded", "a group included"],
)
def test_only_what_is_chosen_is_consumed(
    embedded_broker: Any, start_swarm: Any, point_at: Any, topic_name: Callable[..., str],
    command: str, filters: str, chosen: set[tuple[str, str]],
) -> None:  # fmt: skip
    names = {name: topic_name(name.lower()) for name in NAMES}
    routes = {("ORDERS", "BILLING"), ("ORDERS", "AUDIT"), ("REFUNDS", "BILLING")}
    for topic in ("ORDERS", "REFUNDS"):
        embedded_broker.create_topic(names[topic], 2)
        produce(embedded_broker.bootstrap, names[topic], [b"1", b"2", b"3", b"4"])
    swarm = start_swarm(
        command, "tests.end_to_end.apps.filtered:app", *filters.format_map(names).split(),
        *(["--nodes", "2"] if command == "swarm" else []), *point_at(embedded_broker),
        "--kafka", "auto.commit.interval.ms=100", **names,
    )  # fmt: skip
    for topic, group in chosen:
        await_committed(embedded_broker.bootstrap, names[group], names[topic])
    assert swarm.stop() == 0, swarm.output()
    for topic, group in routes - chosen:
        assert committed_offsets(embedded_broker.bootstrap, names[group], names[topic]) == {}
