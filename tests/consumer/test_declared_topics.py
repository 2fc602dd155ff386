"""What an application declares about its topics in the cluster."""

from typing import Any

import pytest

from swarm_consumer import App, ConfigurationError
from swarm_consumer.routing.declared_topics import DeclaredTopic


def handler(messages: Any) -> None:
    """Do nothing."""


def test_topics_are_declared_beside_their_handler_or_alone() -> None:
    app = App("shop")
    app.consume("orders", group="billing", partitions=8, replication=3, config={"retention.ms": 1000})(handler)
    app.consume("orders", group="audit")(handler)
    app.declare_topic("results", partitions=2, config={"preallocate": True, "cleanup.policy": "compact"})
    app.group("own").consume("refunds", partitions=1)(handler)
    assert app.declared_topics == (
        DeclaredTopic(name="orders", partitions=8, replication=3, config={"retention.ms": "1000"}),
        DeclaredTopic(name="refunds"),
        DeclaredTopic(name="results", partitions=2, config={"preallocate": "true", "cleanup.policy": "compact"}),
    )


def test_the_same_declaration_may_be_made_twice_and_another_may_not() -> None:
    app = App("shop")
    app.consume("orders", group="billing", partitions=8)(handler)
    app.consume("orders", group="audit", partitions=8)(handler)
    with pytest.raises(ConfigurationError, match="'orders' is declared twice"):
        app.consume("orders", group="third", partitions=9)(handler)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"partitions": 0}, "partitions must be a whole number from 1"),
        ({"partitions": True}, "partitions must be a whole number"),
        ({"partitions": 1, "replication": 0}, "replication must be a whole number"),
        ({"replication": 3}, "need partitions beside them"),
        ({"config": {"a": "b"}}, "need partitions beside them"),
        ({"partitions": 1, "config": {"a": ["b"]}}, "config must map names"),
    ],
)
def test_what_cannot_be_is_refused_with_the_topic(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        App("shop").consume("orders", **options)(handler)
    assert "'orders'" in str(caught.value)


def test_a_pattern_cannot_be_declared() -> None:
    with pytest.raises(ConfigurationError, match="is a pattern"):
        App("shop").consume("^orders-.*", partitions=1)(handler)
