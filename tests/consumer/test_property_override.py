"""App.override: the command line has the last word over every property that the code sets."""

import pytest

from swarm_consumer import App, Batch, ConfigurationError


def declared() -> App:
    app = App(
        "orders",
        kafka={"bootstrap.servers": "code:9092", "fetch.wait.max.ms": 50},
        producer={"bootstrap.servers": "producer:9092", "linger.ms": 7},
    )
    group = app.group("billing", kafka={"fetch.wait.max.ms": 60})

    @group.consume("orders", kafka={"fetch.wait.max.ms": 70})
    def orders(messages: Batch[bytes]) -> None: ...

    @app.consume("refunds", group="refunds")
    def refunds(messages: Batch[bytes]) -> None: ...

    return app


def test_it_wins_over_app_group_and_topic_and_over_the_producer() -> None:
    app = declared()
    app.override({"bootstrap.servers": "line:9092", "fetch.wait.max.ms": 5}, "the command line")
    for group in app.subscription_groups():
        assert group.properties["bootstrap.servers"].value == "line:9092"
        assert group.properties["fetch.wait.max.ms"].value == 5
        assert group.properties["fetch.wait.max.ms"].where == "the command line"
    assert app.kafka["bootstrap.servers"] == "line:9092"
    assert app.producer_properties == {"linger.ms": 7}


def test_what_is_declared_afterwards_can_still_say_more() -> None:
    app = declared()
    app.override({"fetch.wait.max.ms": 5}, "the command line")

    @app.consume("late", group="late")
    def late(messages: Batch[bytes]) -> None: ...

    found = next(group for group in app.subscription_groups() if group.consumer_group == "late")
    assert found.properties["fetch.wait.max.ms"].value == 5


def test_topics_that_become_equal_share_a_client_only_within_their_group() -> None:
    app = declared()
    app.override({"fetch.wait.max.ms": 5}, "the command line")
    assert {group.consumer_group for group in app.subscription_groups()} == {"billing", "refunds"}
    assert len(app.subscription_groups()) == 2


def test_a_property_that_is_ours_is_refused_with_the_place() -> None:
    app = declared()
    with pytest.raises(ConfigurationError, match=r"the command line: the property enable\.auto\.commit"):
        app.override({"enable.auto.commit": "false"}, "the command line")
    assert app.kafka["bootstrap.servers"] == "code:9092"
