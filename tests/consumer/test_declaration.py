"""A handler that cannot work is refused where it is declared, with file, line and remedy. No broker."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from abc import abstractmethod
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from swarm_consumer import App, Batch, ConfigurationError, Consumer, DeadLetters, Json, MessagePack
from swarm_consumer.events import BatchFailed

KAFKA = {"bootstrap.servers": "localhost:9092"}


class Order(msgspec.Struct):
    number: int


class Special(Order):
    pass


class Refund(msgspec.Struct):
    number: int


class Handler(Consumer):
    def consume(self, messages):
        pass


def app(**options):
    return App("test", KAFKA, **options)


def refused(declare):
    """What a declaration is refused with: it names this file, and the line within the call."""
    line = sys._getframe(1).f_lineno
    with pytest.raises(ConfigurationError) as caught:
        declare()
    place, colon, sentence = str(caught.value).partition(": ")
    file, _, number = place.rpartition(":")
    assert colon, caught.value
    assert Path(file).name == Path(__file__).name, caught.value
    assert abs(int(number) - line) < 25, caught.value
    assert "\n" not in sentence
    return sentence


# -- classes ---------------------------------------------------------------------------------------------------------


def consumer(**members):
    return type("Totals", (Consumer,), members)


def generator(self, messages):
    yield messages


async def async_generator(self, messages):
    yield messages


def no_arguments():
    pass


def three(self, messages, more):
    pass


def with_default(self, messages, limit=5):
    pass


def anything(*args, **kwargs):
    pass


async def coroutine(self, messages):
    pass


@contextlib.asynccontextmanager
async def async_wrap(self, action):
    yield


async def coroutine_wrap(self, action):
    pass


def bare_wrap(self, action):
    yield


def good_wrap(self, action):
    yield


def constructor(self, pool, *, retries):
    pass


@abstractmethod
def abstract(self, messages):
    pass


def hook_with_argument(self, partition):
    pass


def generator_hook(self):
    yield


ok = {"consume": lambda self, messages: None}

REFUSED_CLASSES = {
    "no consume": ({}, r"Totals has no consume\(self, messages\): define it"),
    "consume is a generator": ({"consume": generator}, r"Totals\.consume\(\) \(.*:\d+\) contains yield.*a generator"),
    "consume is an async generator": ({"consume": async_generator}, "contains yield.*an async generator"),
    "a generator behind partialmethod": ({"consume": functools.partial(generator)}, "contains yield"),
    "consume takes nothing": ({"consume": no_arguments}, r"wrong parameters: write def consume\(self, messages\)"),
    "consume takes more": ({"consume": three}, r"wrong parameters: write def consume\(self, messages\)"),
    "consume is no function": ({"consume": 5}, r"5 is not callable: write def consume\(self, messages\)"),
    "a constructor with arguments": (
        {**ok, "__init__": constructor},
        r"constructor of Totals needs pool, retries, but Swarm.*self\.state",
    ),
    "wrap is a bare generator": ({**ok, "wrap": bare_wrap}, r"bare generator: put @contextlib\.contextmanager"),
    "wrap is an async context manager": ({**ok, "wrap": async_wrap}, r"Totals\.wrap\(\) .* is async"),
    "wrap is a coroutine": ({**ok, "wrap": coroutine_wrap}, r"Totals\.wrap\(\) .* is async"),
    "wrap without an action": (
        {**ok, "wrap": contextlib.contextmanager(generator_hook)},
        r"wrong parameters: write def wrap\(self, action\)",
    ),
    **{
        f"{hook} takes an argument": ({**ok, hook: hook_with_argument}, rf"wrong parameters: write def {hook}\(self\)")
        for hook in ("initialized", "revoked", "shutdown", "tick", "eofed")
    },
    **{
        f"{hook} is a generator": ({**ok, hook: generator_hook}, rf"Totals\.{hook}\(\) .* contains yield")
        for hook in ("initialized", "revoked", "shutdown", "tick", "eofed")
    },
    "revoked as a flag": ({**ok, "revoked": False}, r"revoked\(\) is a hook, but False is not callable"),
}


@pytest.mark.parametrize("case", REFUSED_CLASSES)
def test_a_class_that_cannot_work_is_refused(case):
    members, sentence = REFUSED_CLASSES[case]
    assert re.search(sentence, refused(lambda: app().topic("orders")(consumer(**members))))


def test_an_abstract_class_is_refused():
    import abc

    class Base(Handler, abc.ABC):
        @abc.abstractmethod
        def work(self): ...

    assert re.search("Base is abstract.*: define work", refused(lambda: app().topic("orders")(Base)))


@pytest.mark.parametrize(
    "members",
    [
        {"consume": with_default},
        {"consume": anything},
        {"consume": coroutine},
        {"consume": staticmethod(lambda messages: None)},
        {"consume": classmethod(lambda cls, messages: None)},
        {"consume": functools.partialmethod(lambda self, mode, messages: None, "fast")},
        {"consume": functools.singledispatchmethod(lambda self, messages: None)},
        {**ok, "wrap": contextlib.contextmanager(good_wrap)},
        {**ok, "__init__": lambda self, pool=None, *args, **kwargs: None},
    ],
)
def test_a_class_that_can_work_is_taken(members):
    one = app()
    one.topic("orders")(consumer(**members))
    assert [route.topic for route in one.routes] == ["orders"]


# -- functions -------------------------------------------------------------------------------------------------------


class GeneratorObject:
    def __call__(self, messages):
        yield messages


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda messages: (yield messages), "contains yield"),
        (functools.partial(generator, None), "contains yield"),
        (GeneratorObject(), "contains yield"),
        (no_arguments, r"must take the batch, or the batch and the consumer: write no_arguments\(messages\)"),
        (three, "must take the batch"),
        (lambda messages, *, pool: None, "must take the batch"),
        (None, "takes a function, not None"),
    ],
)
def test_a_function_that_cannot_work_is_refused(function, sentence):
    assert re.search(sentence, refused(lambda: app().consume("orders")(function)))


@pytest.mark.parametrize("function", [lambda batch: None, lambda batch, consumer: None, anything, [].extend, print])
def test_a_function_that_can_work_is_taken(function):
    app().consume("orders")(function)


def test_nothing_is_left_behind_by_a_declaration_that_was_refused():
    one = app()
    refused(lambda: one.topic("orders", group="g", partitions=3)(consumer()))
    refused(lambda: one.topic("orders", group="g", max_messages=0)(Handler))
    assert (one.routes, one.declared_topics) == ((), ())
    one.group("g")


def test_an_async_or_lazy_decoder_is_refused():
    async def decode(data):
        return data

    assert "is async, but decoding is not awaited" in refused(lambda: app().topic("a", payload=decode)(Handler))
    assert "contains yield" in refused(lambda: app().topic("a", key=lambda data: (yield data))(Handler))
    assert "headers must be a function" in refused(lambda: app().topic("a", headers=5)(Handler))


@pytest.mark.parametrize("listen", [lambda one, f: one.subscribe(f), lambda one, f: one.on(BatchFailed)(f)])
def test_a_listener_that_would_never_run_is_refused(listen):
    async def listener(event):
        pass

    def lazy(event):
        yield event

    assert "is async, but it is called without an event loop" in refused(lambda: listen(app(), listener))
    assert "contains yield" in refused(lambda: listen(app(), lazy))
    assert "must take one argument" in refused(lambda: listen(app(), no_arguments))
    assert "takes a function, not 5" in refused(lambda: listen(app(), 5))
    assert "takes a class of swarm_consumer.events" in refused(lambda: app().on("BatchFailed"))


# -- the place -------------------------------------------------------------------------------------------------------


def test_the_place_is_the_line_of_the_decorator():
    one = app()
    with pytest.raises(ConfigurationError) as caught:

        @one.topic("orders", max_mesages=50)  # the line that is meant
        class Totals(Consumer):
            def consume(self, messages):
                pass

    line = next(
        n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "the line that is meant" in text
    )
    place = f"{Path(__file__).name}:{line}"
    assert place in str(caught.value)
    assert caught.value.place.endswith(place)
    assert str(caught.value).endswith("topic 'orders': unknown setting 'max_mesages'; did you mean 'max_messages'?")


def test_two_declarations_that_conflict_are_named_with_both_places():
    one = app()
    one.topic("orders")(Handler)
    sentence = refused(lambda: one.topic("orders")(Handler))
    assert len(re.findall(r"Handler at \S*test_declaration\.py:\d+", sentence)) == 2


def test_every_way_to_declare_names_the_place():
    one = app()
    assert "non-empty string" in refused(lambda: App(""))
    assert "unknown setting" in refused(lambda: App("x", KAFKA, max_mesages=1))
    assert "unknown setting" in refused(lambda: one.group("g", max_mesages=1))
    assert "unknown setting" in refused(lambda: one.group("h").topic("a", max_mesages=1)(Handler))
    assert "unknown setting" in refused(lambda: one.group("i").consume("a", max_mesages=1)(lambda batch: None))
    assert "partitions must be" in refused(lambda: one.declare_topic("a", partitions=0))


# -- dead letters ----------------------------------------------------------------------------------------------------


def test_dead_letters_to_the_topic_itself_are_refused():
    sentence = refused(lambda: app().topic("orders", dead_letters=DeadLetters(topic="orders"))(Handler))
    assert re.match(
        r"the dead letters of 'orders' go to 'orders', which Handler at \S+:\d+ consumes itself by that name: a "
        r"message that always fails would be written for ever; use another topic, or set dead_letters=None",
        sentence,
    )


def test_dead_letters_into_the_own_pattern_are_refused():
    sentence = refused(lambda: app().topic("^orders", dead_letters=DeadLetters(topic="orders-dead"))(Handler))
    assert "by the pattern '^orders'" in sentence


def test_dead_letters_that_come_back_over_another_topic_are_refused():
    one = app()
    one.topic("a", dead_letters=DeadLetters(topic="b"))(Handler)
    one.topic("b", group="other", dead_letters=DeadLetters(topic="c"))(Handler)
    sentence = refused(lambda: one.topic("^c", dead_letters=DeadLetters(topic="a"))(Handler))
    assert "by way of" in sentence


def test_dead_letters_as_a_default_may_not_catch_their_own_topic():
    one = app(dead_letters=DeadLetters(topic="dead"))
    one.topic("orders")(Handler)
    assert "set dead_letters=None" in refused(lambda: one.topic("dead", group="g")(Handler))
    one.topic("dead", group="g", dead_letters=None)(Handler)


def test_dead_letters_may_be_consumed_when_they_end_there():
    one = app()
    one.topic("orders", dead_letters=DeadLetters(topic="dead"))(Handler)
    one.topic("dead", group="replay")(Handler)
    one.topic("left", active=False, dead_letters=DeadLetters(topic="left"))(Handler)
    one.topic("skipped", dead_letters=DeadLetters())(Handler)


def test_max_deaths_beside_dead_letters_is_refused_where_it_would_be_ignored():
    dead = DeadLetters(topic="dead")
    sentence = refused(lambda: app().topic("orders", max_deaths=5, dead_letters=dead)(Handler))
    assert "set DeadLetters(max_deaths=5)" in sentence
    assert "max_deaths" in refused(lambda: app(dead_letters=dead).topic("orders", max_deaths=5)(Handler))
    with pytest.raises(ConfigurationError, match="group 'g': max_deaths is for topics without dead_letters"):
        app(dead_letters=dead).group("g", max_deaths=5)
    with pytest.raises(ConfigurationError, match="App: max_deaths is for topics without dead_letters"):
        app(max_deaths=5, dead_letters=dead)


def test_max_deaths_of_an_app_is_for_its_topics_without_dead_letters():
    one = app(max_deaths=5)
    one.topic("a", dead_letters=DeadLetters(topic="dead", max_deaths=2))(Handler)
    one.topic("b")(Handler)
    app(dead_letters=DeadLetters(topic="dead")).topic("c", dead_letters=None, max_deaths=4)(Handler)
    assert [route.settings.most_deaths for route in one.routes] == [2, 5]


# -- patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["^flights-", "^flights", r"^flights\.", "^(a|b)-v1"])
def test_a_pattern_without_an_end_is_refused_where_the_broker_matches_whole_names(pattern):
    one = App("test", {**KAFKA, "group.protocol": "consumer"})
    sentence = refused(lambda: one.topic(pattern)(Handler))
    assert f"write {pattern + '.*'!r} for all that start so, or {pattern + '$'!r} for exactly that name" in sentence
    app().topic(pattern)(Handler)


@pytest.mark.parametrize("pattern", ["^flights-.*", "^flights$", "^(a|b)", "^flights-[0-9]+", "^flights-.{3}", "^.*"])
def test_a_pattern_that_says_where_it_ends_is_taken(pattern):
    App("test", {**KAFKA, "group.protocol": "consumer"}).topic(pattern)(Handler)


def test_a_protocol_from_the_command_line_counts_for_patterns_too():
    one = app()
    one.topic("^flights-")(Handler)
    one.override({"group.protocol": "consumer"}, "--kafka")
    with pytest.raises(ConfigurationError, match=r"must match whole names: write '\^flights-\.\*'"):
        one.subscription_groups()


# -- the payload and its annotation ----------------------------------------------------------------------------------


def handler_of(annotation):
    def handle(messages):
        pass

    handle.__annotations__ = {"messages": annotation}
    return handle


def decoded(one, data):
    (route,) = one.routes
    return route.decoders.payload(data) if route.decoders.payload is not None else data


def test_the_payload_is_taken_from_the_annotation_of_a_function():
    one = app()

    @one.consume("orders")
    def handle(messages: Batch[Order]) -> None: ...

    assert decoded(one, b'{"number":1}') == Order(1)


def test_the_payload_is_taken_from_the_annotation_of_a_class_also_when_it_is_local():
    one = app()

    class Local(msgspec.Struct):
        number: int

    @one.topic("orders")
    class Totals(Consumer):
        def consume(self, messages: Batch[Local | None]) -> None: ...

    assert decoded(one, b'{"number":1}') == Local(1)


class Methods:
    def handle(self, messages: Batch[Order]) -> None: ...

    def with_consumer(self, messages: Batch[Order], consumer: Consumer) -> None: ...


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def test_the_annotation_is_found_on_methods_and_below_decorators():
    def handle(messages: Batch[Order]) -> None: ...

    class Totals(Consumer):
        @logged
        def consume(self, messages: Batch[Order]) -> None: ...

    for declare in (
        lambda one: one.consume("orders")(Methods().handle),
        lambda one: one.consume("orders")(Methods().with_consumer),
        lambda one: one.consume("orders")(logged(handle)),
        lambda one: one.consume("orders")(functools.partial(handle)),
        lambda one: one.topic("orders")(Totals),
    ):
        one = app()
        declare(one)
        assert decoded(one, b'{"number":1}') == Order(1)


def test_mocks_are_handlers_and_listeners_like_others():
    one = app()
    one.consume("orders")(mock.Mock())
    one.consume("async")(mock.AsyncMock())
    one.subscribe(mock.Mock())
    one.warmup(mock.Mock())
    one.lifespan(mock.MagicMock())


@pytest.mark.parametrize("annotation", [Batch, Batch[bytes], Batch["bytes"] if False else Batch[bytes | None], object])
def test_an_annotation_without_a_type_leaves_the_bytes_alone(annotation):
    one = app()
    one.consume("orders")(handler_of(annotation))
    assert decoded(one, b"1") == b"1"


@pytest.mark.parametrize(
    ("payload", "annotation"),
    [
        (Order, Batch[Refund]),
        (Json(Order), Batch[Refund]),
        (MessagePack(Order), Batch[Refund]),
        (Order | Refund, Batch[Order]),
        (list[Order], Batch[list[Refund]]),
        (Order, Batch[bytes]),
        (str, Batch[int]),
    ],
)
def test_a_payload_that_contradicts_the_annotation_is_refused(payload, annotation):
    sentence = refused(lambda: app().consume("orders", payload=payload)(handler_of(annotation)))
    assert re.search(r"is annotated with Batch\[.*\], but the topic has payload=.*: make them the same", sentence)


@pytest.mark.parametrize(
    ("payload", "annotation"),
    [
        (Order, Batch[Order]),
        (Order, Batch[Order | None]),
        (Special, Batch[Order]),
        (Order, Batch[Order | Refund]),
        (Json(), Batch[Order]),
        (dict, Batch[dict[str, int]]),
        (int, Batch[float]),
        (lambda data: data, Batch[Order]),
        (Order, "Batch[Nowhere]"),
        (Order, "not python"),
    ],
)
def test_a_payload_that_fits_the_annotation_is_taken(payload, annotation):
    app().consume("orders", payload=payload)(handler_of(annotation))


def test_an_annotation_that_is_needed_and_cannot_be_read_is_refused():
    sentence = refused(lambda: app().consume("orders")(handler_of("Batch[Nowhere]")))
    assert re.search(r"'Batch\[Nowhere\]' of .* cannot be read \(NameError: .*\): give payload= beside it", sentence)


def test_a_json_string_is_what_payload_str_means():
    one = app()
    one.consume("orders", payload=str)(lambda messages: None)
    assert decoded(one, b'"text"') == "text"


def test_pydantic_models_are_decoded_by_themselves():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        number: int

    one = app()
    one.consume("orders", payload=Model)(lambda messages: None)
    assert decoded(one, b'{"number":"1"}') == Model(number=1)
    two = app()
    two.consume("orders", payload=pydantic.TypeAdapter(list[Model]))(lambda messages: None)
    assert decoded(two, b'[{"number":1}]') == [Model(number=1)]
    sentence = refused(lambda: app().consume("orders", payload=list[Model])(lambda messages: None))
    assert "msgspec does not support the" in sentence
    assert "TypeAdapter" in sentence
