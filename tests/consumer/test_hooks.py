"""Warm-up and lifespan of an app in one process: what is refused, what is called when, and how errors end it."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from swarm_consumer import App, ConfigurationError, Consumer, LifespanError, NodeInfo, Runtime, WarmupError
from swarm_consumer.events import ClientError, ErrorOccurred
from swarm_consumer.testing import Record, produce, run_messages

KAFKA = {"bootstrap.servers": "in-memory"}


def make_app(handler=None, **options):
    app = App("test", KAFKA)
    app.consume("orders", **options)(handler or (lambda batch, consumer: seen.append(consumer.state)))
    return app


seen: list[object] = []


@pytest.fixture(autouse=True)
def _clean():
    seen.clear()


def run(app, messages=(b"1",)):
    return run_messages(app, {"orders": messages})


# -- warm-up ---------------------------------------------------------------------------------------------------------


def test_warmups_are_called_once_in_order_before_the_lifespan():
    app = make_app()
    app.warmup(lambda: seen.append("first"))
    app.warmup(lambda: seen.append("second"))

    @app.lifespan
    def resources(node):
        seen.append("lifespan")
        yield "state"

    run(app)
    assert seen == ["first", "second", "lifespan", "state"]
    run(app)
    assert seen.count("first") == 1


def test_a_warmup_that_fails_names_itself_and_the_line():
    app = make_app()

    @app.warmup
    def load():
        raise FileNotFoundError("no model.bin")

    with pytest.raises(WarmupError) as caught:
        run(app)
    assert "warm-up test_a_warmup_that_fails_names_itself_and_the_line.<locals>.load (" in str(caught.value)
    assert str(caught.value).count("test_hooks.py:") == 2
    assert "failed: FileNotFoundError: no model.bin" in str(caught.value)


def test_a_warmup_that_exits_does_not_end_the_process_unsaid():
    app = make_app()

    @app.warmup
    def load():
        raise SystemExit(0)

    with pytest.raises(WarmupError, match="SystemExit"):
        run(app)


async def coroutine(*arguments):
    pass


def generator(*arguments):
    yield


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda app: app.warmup(coroutine), "@app.warmup: coroutine .* is async"),
        (lambda app: app.warmup(generator), "@app.warmup: generator .* contains yield"),
        (lambda app: app.warmup(lambda node: None), "@app.warmup: .* must take no argument"),
        (lambda app: app.warmup(None), "@app.warmup takes a function"),
        (lambda app: app.lifespan(coroutine), "the lifespan coroutine is a coroutine without yield"),
        (lambda app: app.lifespan(lambda: None), r"the lifespan .* must take the node: write def .*\(node\)"),
        (lambda app: app.lifespan(5), "@app.lifespan takes a function of the node"),
        (lambda app: app.on_swarm("NodeExited")(coroutine), "@app.on_swarm: coroutine .* is async"),
        (lambda app: app.on_swarm("NodeExited")(generator), "@app.on_swarm: generator .* contains yield"),
        (lambda app: app.on_swarm("NodeExited")(lambda: None), "@app.on_swarm: .* must take one argument"),
        (lambda app: app.on_swarm(), "@app.on_swarm needs the name of an event"),
        (lambda app: app.on_swarm(print), "@app.on_swarm: an event must be a non-empty string"),
    ],
)
def test_a_hook_that_cannot_work_is_refused_with_its_place(declare, sentence):
    with pytest.raises(ConfigurationError, match=r"test_hooks\.py:\d+: " + sentence):
        declare(make_app())


def test_a_second_lifespan_is_refused_with_both_places():
    app = make_app()
    app.lifespan(generator)
    with pytest.raises(ConfigurationError, match=r"py:\d+: the app already has a lifespan, generator \(.*py:\d+\)"):
        app.lifespan(generator)


# -- lifespan --------------------------------------------------------------------------------------------------------


class Manager:
    def __init__(self, node):
        self.node = node

    def __enter__(self):
        seen.append("enter")
        return self.node

    def __exit__(self, *error):
        seen.append("leave")


class AsyncManager:
    def __init__(self, node):
        self.node = node

    async def __aenter__(self):
        seen.append("enter")
        return self.node

    async def __aexit__(self, *error):
        seen.append("leave")


def plain(node):
    seen.append("enter")
    yield node
    seen.append("leave")


async def asynchronous(node):
    seen.append("enter")
    yield node
    seen.append("leave")


@pytest.mark.parametrize(
    "lifespan",
    [
        plain,
        asynchronous,
        contextlib.contextmanager(plain),
        contextlib.asynccontextmanager(asynchronous),
        Manager,
        AsyncManager,
    ],
)
def test_every_kind_of_context_manager_surrounds_all_the_work(lifespan):
    app = make_app()
    app.lifespan(lifespan)
    run(app)
    assert seen == ["enter", NodeInfo(id=None, generation=1), "leave"]


def test_the_state_is_there_in_every_hook_and_not_in_the_constructor():
    class Handler(Consumer):
        def __init__(self):
            try:
                self.state  # noqa: B018
            except Exception as error:
                seen.append(str(error))

        def initialized(self):
            seen.append(("initialized", self.state))

        def consume(self, messages):
            seen.append(("consume", self.state))

        def shutdown(self):
            seen.append(("shutdown", self.state))

    app = App("test", KAFKA)
    app.topic("orders")(Handler)

    @app.lifespan
    def resources(node):
        yield {"pool": 1}
        seen.append("left")

    run(app)
    assert "self.state is available from initialized() on, not in the constructor" in seen[0]
    assert seen[1:] == [(hook, {"pool": 1}) for hook in ("initialized", "consume", "shutdown")] + ["left"]


def test_without_a_lifespan_the_state_is_none():
    run(make_app())
    assert seen == [None]


def test_an_async_lifespan_is_on_the_loop_of_the_async_handlers_and_is_one_task():
    async def handle(batch, consumer):
        seen.append(asyncio.get_running_loop())
        seen.append(await consumer.state)

    app = make_app(handle)

    @app.lifespan
    async def resources(node):
        seen.append(asyncio.get_running_loop())
        async with asyncio.TaskGroup() as group:  # wants to be left in the task that entered it
            yield group.create_task(asyncio.sleep(0, "result"))

    run(app)
    assert seen[0] is seen[1]
    assert seen[2] == "result"


def test_a_sync_lifespan_is_entered_and_left_in_the_thread_of_run():
    app = make_app()

    @app.lifespan
    def resources(node):
        seen.append(threading.current_thread())
        yield
        seen.append(threading.current_thread())

    run(app)
    assert seen == [threading.current_thread(), None, threading.current_thread()]


@pytest.mark.parametrize("kind", [OSError, SystemExit])
@pytest.mark.parametrize("asynchronously", [False, True])
@pytest.mark.parametrize("when", ["start", "end"])
def test_a_lifespan_that_fails_ends_the_run_with_its_reason(kind, asynchronously, when):
    app = make_app()

    def resources(node):
        if when == "start":
            raise kind("no database")
        yield
        raise kind("no database")

    async def async_resources(node):
        if when == "start":
            raise kind("no database")
        yield
        raise kind("no database")

    app.lifespan(async_resources if asynchronously else resources)
    with pytest.raises(LifespanError) as caught:
        run(app)
    place = str(caught.value).partition("(")[2].partition(")")[0]
    assert "test_hooks.py:" in place
    assert f"failed at its {when}: {kind.__name__}: no database, at " in str(caught.value)
    assert isinstance(caught.value.__cause__, kind)
    assert seen == ([] if when == "start" else [None])


@pytest.mark.parametrize("lifespan", [lambda node: 5, lambda node: None])
def test_a_lifespan_that_makes_no_context_manager_says_so(lifespan):
    app = make_app()
    app.lifespan(lifespan)
    with pytest.raises(LifespanError, match=r"it returned .*, which is not a context manager: use yield"):
        run(app)


def test_a_generator_without_yield_on_its_way_says_so():
    app = make_app()

    @app.lifespan
    async def resources(node):
        return
        yield

    with pytest.raises(LifespanError, match="failed at its start"):
        run(app)


@pytest.mark.parametrize("lifespan", [plain, asynchronous])
def test_the_lifespan_is_left_when_the_handler_fails(lifespan):
    app = make_app(lambda batch: 1 / 0)
    app.lifespan(lifespan)
    with pytest.raises(ZeroDivisionError):
        run(app)
    assert seen == ["enter", "leave"]


@pytest.mark.parametrize("asynchronously", [False, True])
def test_what_ends_the_work_is_raised_at_the_yield(asynchronously):
    app = make_app()

    @contextlib.contextmanager
    def watch():
        try:
            yield
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            seen.append("left")

    @app.lifespan
    def resources(node):
        with watch():
            yield

    async def async_resources(node):
        with watch():
            yield

    if asynchronously:
        app.hooks.lifespan = None
        app.lifespan(async_resources)
    runtime = Runtime(app, drain_timeout=0.5)

    def broken(*arguments):
        raise KeyboardInterrupt

    runtime._wait = broken
    with pytest.raises(KeyboardInterrupt):
        runtime.run()
    assert seen == [KeyboardInterrupt, "left"]


def test_an_async_end_that_hangs_is_cancelled_within_the_budget(monkeypatch):
    monkeypatch.setattr("swarm_consumer._running.lifespan.END_S", 0.1)
    monkeypatch.setattr("swarm_consumer.testing.in_memory.DRAIN_TIMEOUT_S", 0.2)
    app = make_app()

    @app.lifespan
    async def resources(node):
        yield
        await asyncio.Event().wait()

    with pytest.raises(LifespanError, match=r"its end took longer than .* s and was cancelled"):
        run(app)


def test_a_failure_at_the_end_after_another_error_is_told_as_an_event():
    app, events = make_app(), []
    app.subscribe(events.append)

    @app.lifespan
    def resources(node):
        try:
            yield
        finally:
            raise OSError("still in use")

    runtime = Runtime(app, drain_timeout=0.5)

    def broken(*arguments):
        raise KeyboardInterrupt

    runtime._wait = broken
    with pytest.raises(KeyboardInterrupt):
        runtime.run()
    assert [event.where for event in events if isinstance(event, ErrorOccurred)] == ["lifespan"]


def test_the_lifespan_is_given_the_node_and_can_be_entered_before_the_run():
    app = make_app()
    app.lifespan(plain)
    runtime = Runtime(app, node_id=3, generation=2, drain_timeout=0.5)
    runtime.prepare()
    runtime.prepare()
    assert seen == ["enter"]
    assert runtime._lifespan.state == NodeInfo(id=3, generation=2)
    runtime.stop()
    assert runtime.run() == 0
    assert seen == ["enter", "leave"]


def test_an_async_lifespan_that_dies_early_ends_the_node_with_its_reason():
    fatal = []
    goes_on = threading.Event()
    app = make_app(lambda batch: goes_on.wait(60))
    app.on(ClientError)(lambda event: (fatal.append(event), goes_on.set()))

    async def background():
        raise OSError("the pool is gone")

    @app.lifespan
    async def resources(node):
        async with asyncio.TaskGroup() as group:
            yield group.create_task(background())

    with pytest.raises(LifespanError, match=r"resources .* failed while the node was running: ExceptionGroup"):
        run(app)
    assert fatal, "the handler waited in vain for the node to be told to end"
    assert "while the node was running" in fatal[0].reason


def test_a_hook_that_hangs_holds_up_no_partition_that_comes_back(embedded_broker, make_app, start, topic_name):
    """Its revoked() waited for the one thread of hooks, and the partition's next batch for that."""
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 2)
    hanging, go, entered, seen = set(), threading.Event(), [], []

    def make(name):
        app = make_app(concurrency=2, revocation_timeout=1.0, kafka=embedded_broker.client_settings("consumer"))

        @app.topic(topic, group=topic, tick_interval=0.05)
        class Handler(Consumer):
            def consume(self, messages):
                seen.append((name, messages.partition, messages.last_offset))

            def tick(self):
                if name == "one" and self.partition in hanging:
                    entered.append(self.partition)
                    assert go.wait(120)

            def revoked(self):
                seen.append((name, self.partition, "revoked"))

        return app

    def of(partition, offset):
        return lambda: ("one", partition, offset) in seen

    def put(partition):
        produce(embedded_broker.bootstrap, topic, [Record(b"x", partition=partition)])

    one = start(make("one"), drain_timeout=10.0)

    def keys():
        return sorted(key[1] for connection in one.runtime._connections for key in connection.assigned())

    one.wait_for(lambda: keys() == [0, 1])
    two = start(make("two"))
    one.wait_for(lambda: len(keys()) == 1)
    (stays,) = keys()
    moves = 1 - stays
    two.stop()
    one.wait_for(lambda: keys() == [0, 1])
    put(stays)
    put(moves)
    one.wait_for(lambda: of(stays, 0)() and of(moves, 0)())
    hanging.add(stays)
    one.wait_for(lambda: entered)
    two = start(make("two"))
    one.wait_for(lambda: keys() == [stays])
    two.stop()
    one.wait_for(lambda: keys() == [0, 1])
    put(moves)
    try:
        one.wait_for(of(moves, 1), timeout=30)
    finally:
        go.set()
    assert seen.index(("one", moves, "revoked")) < seen.index(("one", moves, 1))
    one.stop()
