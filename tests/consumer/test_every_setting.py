"""Every setting is checked: each row of each table is fed with wrong types and values, none of which may be taken."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing

import pytest

from swarm_consumer import App, ConfigurationError, Consumer, DeadLetters, Runtime, Selection
from swarm_consumer.routing.property_checks import CHOICES, NUMBERS, TEXTS
from swarm_consumer.routing.settings import GroupedTopicOptions, TopicKeywords, TopicOptions, TopicSettings

KAFKA = {"bootstrap.servers": "localhost:9092"}
NAN, INFINITE = float("nan"), float("inf")

NUMBER = ["1", b"1", True, NAN, INFINITE, -INFINITE, -1, 10**14, [], {}, object()]
WHOLE = [*NUMBER, 1.5]
FLAG = ["yes", 0, 1, 2, [], object()]
TEXT = ["", "  ", b"name", 5, True, [], object()]
MAPPING = ["text", 5, ["a"], {"a"}]

WRONG = {
    "max_messages": [*WHOLE, None, 0],
    "max_wait": [*NUMBER, None, 0],
    "initial_offset": ["middle", "", None, 5, True, ["earliest"], {}],
    "retry_backoff": [*NUMBER, None],
    "retry_backoff_max": [*NUMBER, None],
    "manual_marking": [*FLAG, None],
    "long_running": [*FLAG, None],
    "consuming_ttl": [*NUMBER, 0],
    "max_held_messages": [*WHOLE, 0, 50],  # below max_messages
    "max_held_bytes": [*WHOLE, None, 0],
    "tick_interval": [*NUMBER, None, 0],
    "revocation_timeout": NUMBER,
    "dead_letters": ["dead", True, 5, {"topic": "dead"}],
    "max_deaths": [*WHOLE, None, 0],
}
WRONG_OPTIONS = {
    "payload": [5, "Order", b"", object()],
    "key": [5, "Order", object()],
    "headers": [5, "x", object()],
    "kafka": MAPPING,
    "subscription_group": TEXT,
    "active": [*FLAG, None],
    "partitions": [*WHOLE, 0],
    "replication": [*WHOLE, 0],
    "config": [*MAPPING, {5: "x"}, {"cleanup.policy": ["compact"]}, {"cleanup.policy": None}],
    "group": TEXT,
}
WRONG_LETTERS = {
    "topic": ["", "not a topic", "^pattern", 5, b"dead", True, ".."],
    "max_retries": [*WHOLE, None],
    "independent": [*FLAG, None],
    "max_consecutive": [*WHOLE, 0],
    "max_ratio": [*NUMBER, 1.1],
    "max_deaths": [*WHOLE, None, 0],
    "hangs": FLAG,
}
WRONG_APP = {
    "client_id": [*TEXT, None],
    "kafka": MAPPING,
    "producer": MAPPING,
    "group": TEXT,
    "concurrency": [*WHOLE, None, 0],
    "revocation_timeout": NUMBER,
}


class Handler(Consumer):
    def consume(self, messages):
        pass


def cases(table):
    return [pytest.param(name, value, id=f"{name}={value!r:.20}") for name, values in table.items() for value in values]


def refuses(declare, name):
    with pytest.raises(ConfigurationError) as caught:
        declare()
    sentence = str(caught.value)
    assert "\n" not in sentence
    # The place is the line of this file that declares; the setting is named, or the value is.
    assert re.match(r"\S*test_every_setting\.py:\d+: ", sentence), sentence
    assert any(word in sentence for word in (name, name.replace("_", " "), "topic", "pattern", "properties"))


def test_the_tables_here_have_every_setting():
    assert set(WRONG) == {field.name for field in dataclasses.fields(TopicSettings)}
    assert set(WRONG) - {"revocation_timeout"} == set(TopicKeywords.__annotations__)
    assert set(WRONG_OPTIONS) | set(WRONG) == set(typing.get_type_hints(GroupedTopicOptions))
    assert set(WRONG_LETTERS) == {field.name for field in dataclasses.fields(DeadLetters)}
    parameters = inspect.signature(App.__init__).parameters
    assert set(WRONG_APP) == {name for name in parameters if name not in ("self", "settings")}


def test_the_typed_keywords_are_those_of_the_declaration():
    options = {
        name
        for name, parameter in inspect.signature(App.topic).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert options == set(WRONG_OPTIONS)
    assert set(typing.get_type_hints(TopicOptions)) == (options | set(WRONG)) - {"group"}


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_a_wrong_setting_is_refused_for_app_group_and_topic(name, value):
    refuses(lambda: App("x", KAFKA, **{name: value}), name)
    refuses(lambda: App("x", KAFKA).group("g", **{name: value}), name)
    refuses(lambda: App("x", KAFKA).topic("t", **{name: value})(Handler), name)
    refuses(lambda: App("x", KAFKA).consume("t", **{name: value})(lambda batch: None), name)
    refuses(lambda: App("x", KAFKA).group("g").topic("t", **{name: value})(Handler), name)


@pytest.mark.parametrize(("name", "value"), cases(WRONG_OPTIONS))
def test_a_wrong_option_of_a_topic_is_refused(name, value):
    beside = {"partitions": 1} if name in ("replication", "config") else {}
    refuses(lambda: App("x", KAFKA).topic("t", **beside, **{name: value})(Handler), name)
    refuses(lambda: App("x", KAFKA).consume("t", **beside, **{name: value})(lambda batch: None), name)


@pytest.mark.parametrize(("name", "value"), cases(WRONG_LETTERS))
def test_a_wrong_setting_of_dead_letters_is_refused(name, value):
    refuses(lambda: App("x", KAFKA).topic("t", dead_letters=DeadLetters(**{name: value}))(Handler), name)


@pytest.mark.parametrize(("name", "value"), cases(WRONG_APP))
def test_a_wrong_argument_of_the_app_is_refused(name, value):
    refuses(lambda: App(**{"client_id": "x", "kafka": KAFKA, name: value}), name)


@pytest.mark.parametrize("topic", [5, None, b"t", "", "not a topic", ".", "^(", "x" * 250])
def test_what_cannot_be_a_topic_is_refused(topic):
    refuses(lambda: App("x", KAFKA).topic(topic)(Handler), "topic")
    refuses(lambda: App("x", KAFKA).consume("fine", topic)(lambda batch: None), "topic")
    refuses(lambda: App("x", KAFKA).declare_topic(topic, partitions=1), "topic")


@pytest.mark.parametrize("value", [*NUMBER, None, 0])
def test_a_wrong_drain_timeout_is_refused(value):
    app = App("x", KAFKA)
    app.topic("t")(Handler)
    with pytest.raises(ConfigurationError, match="drain_timeout must be a number"):
        Runtime(app, drain_timeout=value)


@pytest.mark.parametrize("value", [-1, 1.5, "0", True])
def test_a_wrong_node_is_refused(value):
    app = App("x", KAFKA)
    app.topic("t")(Handler)
    for name in ("node_id", "generation"):
        with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
            Runtime(app, **{name: value})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Selection)])
@pytest.mark.parametrize("value", ["orders", 5, [5], ["nothing-of-that-name"]])
def test_a_wrong_filter_is_refused(name, value):
    app = App("x", KAFKA)
    app.topic("t")(Handler)
    with pytest.raises(ConfigurationError, match=name.replace("_", "[-_]")):
        Runtime(app, selection=Selection(**{name: value}))


# -- properties ------------------------------------------------------------------------------------------------------

PLACES = {
    "App": lambda given: App("x", {**KAFKA, **given}),
    "producer": lambda given: App("x", KAFKA, producer=given),
    "group": lambda given: App("x", KAFKA).group("g", kafka=given),
    "topic": lambda given: App("x", KAFKA).topic("t", kafka=given)(Handler),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["abc", "", "1.5", 1.5, -1, True, None, NAN, [1], 10**12])
def test_a_number_that_librdkafka_could_not_use_is_refused(place, name, value):
    refuses(lambda: PLACES[place]({name: value}), name)


@pytest.mark.parametrize("value", [0, "0"])
def test_commits_cannot_be_switched_off(value):
    refuses(lambda: PLACES["App"]({"auto.commit.interval.ms": value}), "auto.commit.interval.ms")
    with pytest.raises(ConfigurationError, match=r"--kafka: the property auto\.commit\.interval\.ms must be"):
        App("x", KAFKA).override({"auto.commit.interval.ms": value}, "--kafka")
    refuses(lambda: PLACES["topic"]({"offset.store.method": "none"}), "offset.store.method")
    refuses(lambda: PLACES["topic"]({"auto.commit.enable": False}), "auto.commit.enable")


@pytest.mark.parametrize("name", [*CHOICES, *TEXTS])
@pytest.mark.parametrize("value", ["", 5, None, ["a", "b"]])
def test_a_wrong_text_is_refused(name, value):
    if name == "transactional.id":
        refuses(lambda: App("x", KAFKA, producer={name: value}), name)
    else:
        refuses(lambda: PLACES["App"]({name: value}), name)


@pytest.mark.parametrize("given", [{5: "x"}, {"fetch.min.bytes": None}, {"x": {}}, {"x": [1]}, {"linger.ms": NAN}])
def test_what_is_no_property_at_all_is_refused(given):
    for place in PLACES.values():
        refuses(lambda place=place: place(given), "propert")


@pytest.mark.parametrize("given", [{"max.poll.interval.ms": "60000"}, {"group.protocol": "CONSUMER"}, {"acks": -1}])
def test_what_librdkafka_takes_is_taken(given):
    App("x", {**KAFKA, **given})
