"""Every place where the package calls something that is not its own, as read from the code: raised at, one by one.

`call_outs.py` finds the places. A new one fails the test of its kind until it has its line here: OURS, if what is
called is the package's own after all, or a scenario that raises there. What comes out of a handler goes to the retry
rules or ends the node with its reason; whatever else is raised is reported, and consumption goes on, or the node says
why not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import typing

import pytest

from swarm_consumer import App, Codec, Consumer, Runtime, events
from swarm_consumer._connection.client_statistics import ClientStatistics
from swarm_consumer._connection.owner import Owner
from swarm_consumer._connection.rebalances import Rebalances
from swarm_consumer._producing.deliveries import Delivery
from swarm_consumer._reporting.bus import Bus
from swarm_consumer.testing import produce, run_messages
from swarm_consumer.testing.outside_client import Record, await_committed
from tests.consumer import call_outs

FOUND = call_outs.read()
VALUES = [b'"a"', b'"b"', b'"c"']
DONE = {("messages", 0): 3}


class WithoutText(Exception):
    def __str__(self):
        raise SystemExit("no text")


ERRORS = [ValueError("x"), SystemExit(3), KeyboardInterrupt(), WithoutText()]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


class Once:
    """Raises the error the first time it is called."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __call__(self, *_args, **_options):
        self.calls += 1
        if self.calls == 1:
            raise self.error


# -- what handlers raise -----------------------------------------------------------------------------------------


def handled(error, target, **options):
    """Run messages: an Exception is retried, anything else ends the node and is told."""
    if isinstance(error, Exception):
        outcome = run_messages(target, VALUES, attempts=3, **options)
        assert outcome.committed == DONE
        assert error in outcome.failures
    else:
        with pytest.raises(type(error)) as raised:
            run_messages(target, VALUES, attempts=3, **options)
        assert raised.value is error


def consume(error):
    once = Once(error)

    class Handler(Consumer):
        def consume(self, messages):
            once()

    handled(error, Handler)


def function(error):
    once = Once(error)
    handled(error, lambda messages: once())


def coroutine(error):
    once = Once(error)

    async def handle(messages):
        once()

    handled(error, handle)


def initialized(error):
    once = Once(error)

    class Handler(Consumer):
        def initialized(self):
            once()

        def consume(self, messages):
            pass

    handled(error, Handler)


def constructor(error):
    once = Once(error)

    class Handler(Consumer):
        def __init__(self):
            once()

        def consume(self, messages):
            pass

    handled(error, Handler)


def wrap(error):
    for before in (True, False):
        once = Once(error)

        class Handler(Consumer):
            @contextlib.contextmanager
            def wrap(self, action):
                if before:  # noqa: B023  used up within this turn
                    once()  # noqa: B023
                yield
                once()  # noqa: B023

            def consume(self, messages):
                pass

        if isinstance(error, Exception):
            outcome = run_messages(Handler, VALUES, attempts=3)
            assert outcome.committed == DONE
        else:
            with pytest.raises(type(error)):
                run_messages(Handler, VALUES, attempts=3)


def decoder(field):
    def scenario(error):
        once = Once(error)

        def decode(data):
            once()
            return data

        def handle(messages):
            for message in messages:
                assert (message.payload, message.key, message.headers) is not None
            list(messages.iter_payloads())

        records = [Record(value, key=b"k", headers=(("h", b"1"),)) for value in VALUES]
        run = {"attempts": 3, field: decode}
        if isinstance(error, Exception):
            assert run_messages(handle, records, **run).committed == DONE
        else:
            with pytest.raises(type(error)):
                run_messages(handle, records, **run)

    return scenario


def codec(method, batch=False):
    def scenario(error):
        once = Once(error)

        class Own(Codec):
            def decode(self, value, headers):
                if method == "decode":
                    once()
                return value

            def encode(self, payload):
                if method == "encode":
                    once()
                return payload

        class Handler(Consumer):
            def consume(self, messages):
                if batch:
                    assert messages.payloads() == VALUES
                assert [message.payload for message in messages] == VALUES
                self.produce("messages", b"more")

        if isinstance(error, Exception):
            outcome = run_messages(Handler, VALUES, attempts=3, payload=Own())
            assert outcome.committed == DONE
            told = [failure.__cause__ or failure for failure in outcome.failures]
            assert told == ([] if batch else [error]), "a batch asks again, record by record, which one is bad"
        else:
            with pytest.raises(type(error)) as raised:
                run_messages(Handler, VALUES, attempts=3, payload=Own())
            assert raised.value is error

    return scenario


def model(error):
    once = Once(error)

    class Model:
        def model_dump(self, mode):
            once()
            return {"a": 1}

    class Handler(Consumer):
        def consume(self, messages):
            self.produce("out", Model())

    handled(error, Handler)


def declared_hooks(error):
    """Warm-ups and lifespans end run() before anything is consumed, with the error behind what is raised."""
    for declare in ("warmup", "lifespan"):
        app = App("hooks", {"bootstrap.servers": "in-memory"})
        app.consume("messages")(lambda messages: None)

        def raising(*_arguments):
            raise error
            yield

        def raising_at_once():
            raise error

        getattr(app, declare)(raising_at_once if declare == "warmup" else raising)
        with pytest.raises(BaseException) as raised:
            Runtime(app).run()
        assert raised.value is error or raised.value.__cause__ is error


def hook(action):
    def scenario(error):
        once = Once(error)

        class Handler(Consumer):
            def consume(self, messages):
                pass

        setattr(Handler, action, lambda self: once())
        outcome = run_messages(Handler, VALUES, tick_interval=0.01)
        assert outcome.committed == DONE
        if once.calls:  # a run in memory may end before a tick
            reports = [event.error for event in outcome.events if isinstance(event, events.ErrorOccurred)]
            assert reports[0] is error

    return scenario


def every_hook(error):
    consume(error)
    for action in ("tick", "eofed", "shutdown", "revoked"):
        hook(action)(error)


# -- what listeners, logs and callbacks raise --------------------------------------------------------------------


def example(event):
    """Return an event of this type with any values."""
    hints = typing.get_type_hints(event)
    values = {"str": "x", "int": 1, "float": 1.0, "bool": True}
    given = {}
    for each in dataclasses.fields(event):
        kind = hints[each.name]
        if each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING:
            continue
        if typing.get_origin(kind) is tuple:
            given[each.name] = ()
        elif typing.get_origin(kind) is dict:
            given[each.name] = {}
        elif kind is BaseException:
            given[each.name] = WithoutText()
        else:
            given[each.name] = values.get(getattr(kind, "__name__", ""))
    return event(**given)


def event_types():
    found, left = [], [events.Event]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if not kind.__name__.startswith("_") and kind is not events.Event:
            found.append(kind)
    return found


def listener(error):
    """For each event there is: its listener raises, and so do the log's handler and filter."""
    log = logging.getLogger("swarm_consumer")
    before = log.level

    class Broken(logging.Handler):
        def handle(self, record):
            raise error

    broken, filtered = Broken(), logging.NullHandler()
    filtered.addFilter(Once(error))
    log.addHandler(broken)
    log.addHandler(filtered)
    log.setLevel(logging.DEBUG)
    try:
        for kind in event_types():
            bus, seen = Bus(), []

            def die(event):
                seen.append(event)  # noqa: B023  used up within this turn
                raise error

            bus.subscribe(die, kind)
            bus.emit(example(kind))
            bus.tell_repeated(at_the_end=True)
            assert seen, kind
    finally:
        log.removeHandler(broken)
        log.removeHandler(filtered)
        log.setLevel(before)


def callback(error):
    bus, told = Bus(), []
    bus.subscribe(told.append, events.ErrorOccurred)

    def raising():
        raise error

    assert bus.call("a callback", raising) is None
    assert told[0].error is error


OURS = {
    ("left_behind.py:LeftBehind.look", "assigned"),  # Connection.assigned
    ("group_members.py:owned", "admin.describe_consumer_groups"),  # under the guard of owned, as is the factory
    ("group_members.py:owned", "is_stopping"),  # the owner's, of one attribute
    ("kept_progress.py:KeptProgress.see_to", "self._restore"),  # guarded there: test_kept_progress.py has it raise
    ("connection.py:Connection.leaving", "self._leaving"),  # under the guard of Runtime.run
    ("kept_progress.py:KeptProgress.positions", "ends_of"),  # starts.ends
    ("gate.py:Gate._open", "tenure._in_company"),
    ("gate.py:Gate._wait_to_be_alone", "given_up"),
    ("gate.py:Gate._wait_to_enter", "given_up"),
    ("rebalances.py:Rebalances._place", "client.incremental_assign if self._incremental else client.assign"),
    ("app.py:App.consume.declare", "declare_class"),  # at the declaration
    ("batch.py:Batch._offset_in_hand", "getattr(iterator, '__length_hint__', lambda: 0)"),  # of our own list
    ("bus.py:Bus._note_interruption", "self.on_interruption"),  # Runtime.stop
    ("connection.py:Connection.fail", "self.wake_runtime"),
    ("deliveries.py:Delivery.wait", "self._await"),  # Producer.await_all
    ("deserialization.py:_msgspec", "decoder"),  # at the declaration
    ("ending.py:Ending.drain", "housekeep"),  # Owner._housekeep
    ("event_loop.py:EventLoop._serve", "self._on_error"),  # Watchdog.loop_failed
    ("execution.py:Execution._call", "run_in_hand.reset"),
    ("dead_letter_post.py:DeadLetterPost._send", "produce"),  # Producer.produce, under the guard of _send
    ("execution.py:Execution._call_hook", "run_in_hand.reset"),
    ("execution.py:Execution._work", "occupy"),
    ("runtime.py:Runtime._finish", "removed"),  # asked under the guard of _leaves
    ("suspicion.py:judgement", "handled"),  # KeptProgress.handled, which contains what the memory raises
    ("suspicion.py:is_to_be_alone", "handled"),  # KeptProgress.handled, which contains what the memory raises
    ("fork_guard.py:_Guard.__call__", "native"),  # the client's constructor
    ("fork_guard.py:_guard_constructor.guarded", "make"),
    ("group.py:Group.consume", "self.app.consume"),  # the decorator
    ("requests.py:Requests.ask.call", "function"),  # guarded: it is raised where it was asked for
    ("requests.py:Requests.serve", "self._queue.popleft()"),  # Requests.ask.call
    ("intake.py:Intake._pause", "event"),  # an event's class
    ("intake.py:Intake._take_errors", "self._on_error"),  # Owner._report_error
    ("intake.py:Intake.poll", "client.consume"),  # the client's consume()
    ("intake.py:Intake.poll", "self._on_end"),
    ("owner.py:Owner._create", "connection.wake_runtime"),
    ("owner.py:Owner._create", "self._clients.consumer"),  # the factory; what it raises ends the node with its reason
    ("owner.py:Owner.run", "connection.wake_runtime"),
    ("producer.py:Producer._create", "self._clients.producer"),  # the factory; it is raised where it was asked for
    ("producer.py:Producer._error", "self._on_error"),  # Runtime._producer_error
    ("producer.py:Producer._note_fatal", "self._on_error"),
    ("producer.py:Producer._serve", "call"),  # the client's poll() or flush()
    ("producer.py:Producer.await_all", "done"),
    ("producer.py:Producer.produce", "self._codec_of"),  # TopicCodecs.of
    ("rebalances.py:Rebalances.assign", "self._on_change"),
    ("rebalances.py:Rebalances.guarded.call", "callback"),  # Rebalances.assign, revoke, lose
    ("rebalances.py:Rebalances.lose", "self._on_change"),
    ("rebalances.py:Rebalances.revoke", "self._on_change"),
    ("ending.py:Ending._poll_while", "condition"),
    ("rebalances.py:Rebalances.wait_while", "condition"),
    ("run_transactions.py:RunTransactions.letter", "produce"),  # Producer.produce
    ("transactions.py:TransactionScope._committed", "call"),  # transaction_offsets.committed
    ("transactions.py:TransactionScope._doubted", "call"),  # RunTransactions' own, too
    ("transactions.py:Transactions._abort", "self._client"),
    ("transactions.py:Transactions._begin", "self._client"),
    ("transactions.py:Transactions._commit", "self._client"),
    ("transactions.py:Transactions.commit", "self._client"),
    ("workers.py:Workers._failed", "self._on_failure"),  # Watchdog.worker_failed
    ("workers.py:Workers._run_hooks", "hook"),  # Connection's own; guarded all the same
    ("workers.py:Workers._work", "get"),
    ("workers.py:Workers._work", "self._do"),  # Execution.work
}
ADMINISTRATION = {
    ("_clients.py:Clients._made", "make"),
    ("cluster_check.py:check_cluster", "CLIENTS.consumer"),
    ("_clients.py:Clients.ends", "OffsetSpec.latest"),
    ("_clients.py:Clients.offsets.question", "self.admin.list_offsets"),
    ("_clients.py:Clients.starts", "OffsetSpec.earliest"),
    ("_questions.py:Questions._tell_once", "tell"),
    ("_questions.py:Questions.until", "again"),
    ("_questions.py:Questions.until", "question"),
    ("_questions.py:shows", "condition"),
    ("cluster.py:Cluster._configurations", "self._clients.admin.describe_configs"),
    ("cluster.py:Cluster._single.question", "request"),
    ("cluster.py:Cluster.add_partitions", "self._clients.admin.create_partitions"),
    ("cluster.py:Cluster.await_leaders", "OffsetSpec.latest"),
    ("cluster.py:Cluster.configure_topic", "self._clients.admin.incremental_alter_configs"),
    ("cluster.py:Cluster.create_topic", "self._clients.admin.create_topics"),
    ("cluster.py:Cluster.delete_topic", "self._clients.admin.delete_topics"),
    ("cluster.py:Cluster.of_group", "cls"),
    ("group_offsets.py:GroupOffsets.members", "self._clients.admin.describe_consumer_groups"),
    ("lag.py:group_lags", "connect"),
    ("positions.py:Position.parse", "(moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds"),
    ("positions.py:Position.parse", "cls"),
}
"""No run calls these: what they raise goes to the tool that asked."""
SCENARIOS = {
    ("batch.py:Batch._decoded", "decode"): decoder("payload"),
    ("batch.py:_opened", "decode"): codec("decode", batch=True),
    ("bus.py:Bus.call", "callback"): callback,
    ("bus.py:Bus.emit", "listener"): listener,
    ("codec.py:_plain", "dump"): model,
    ("codec.py:encoded", "encode"): codec("encode"),
    ("consumer.py:FunctionConsumer.consume", "function"): function,
    ("deserialization.py:_with_context.decode", "deserializer"): decoder("payload"),
    ("execution.py:Execution._in_wrap", "call"): every_hook,
    ("execution.py:Execution._in_wrap", "lane.consumer.wrap"): wrap,
    ("execution.py:Execution._instance", "lane.route.consumer"): constructor,
    ("execution.py:_reach", "consumer.consume"): coroutine,
    ("hooks.py:Hooks.warm_up", "hook.function"): declared_hooks,
    ("lifespan.py:Lifespan.enter", "context_maker(self._hook.function)"): declared_hooks,
    ("message.py:Message._decoded", "decode"): decoder("key"),
    ("message.py:Message.headers", "decode"): decoder("headers"),
    ("message.py:Message.payload", "decode"): decoder("payload"),
    ("message.py:Message.payload", "open_payload"): codec("decode"),
    ("initialized", "initialized"): initialized,
}
LOG_CALLS = {"bus.py:Bus._log", "bus.py:Bus._tell", "bus.py:Bus.tell_repeated", "librdkafka_log.py:ContainedLog.log"}
"""Each is inside a guard, which the scenario `listener` tries."""
THREADS = {
    ("connection.py:Connection.__init__", "self._owner.run"),
    ("event_loop.py:EventLoop._started", "self._serve"),
    ("workers.py:Workers.start", "self._work"),
    ("workers.py:Workers.submit_hook", "self._run_hooks"),
}
"""test_containment.py ends each of them, and the watchdog sees it."""


def test_every_call_of_something_foreign_is_known():
    known = OURS | ADMINISTRATION | {key for key in SCENARIOS if ":" in key[0]}
    assert FOUND.calls - known == set(), "a new place where something foreign is called: raise there (see above)"
    assert known - FOUND.calls == set(), "gone from the code"


def test_the_log_is_written_under_a_guard_alone():
    asked = {place for place in FOUND.logs if place in ("bus.py:Bus.wants", "librdkafka_log.py:")}  # a level, a filter
    assert FOUND.logs - asked == LOG_CALLS


def test_every_thread_is_one_that_the_watchdog_sees():
    assert FOUND.threads == THREADS


def test_every_event_that_is_emitted_is_tried():
    names = {name for _, name in FOUND.emits} - {"report", "event"}  # variables: an ErrorOccurred, and two of a kind
    assert names <= {kind.__name__ for kind in event_types()}


@every_error
@pytest.mark.parametrize("place", SCENARIOS, ids=lambda place: place[0] if isinstance(place, tuple) else None)
def test_an_error_out_of_foreign_code_is_dealt_with(place, error):
    SCENARIOS[place](error)


# -- what the client calls back ----------------------------------------------------------------------------------


def ends_with_its_reason(running, error):
    assert running.join(60) == 1
    assert type(error).__name__ in running.runtime.fatal_error()


def stops_with_its_reason(running, error):
    running.wait_for_event(events.Assigned)
    assert running.stop() == 1
    assert type(error).__name__ in running.runtime.fatal_error()


def goes_on(running, error):
    await_committed(running.bootstrap, running.topic, running.topic, {0: 3})
    assert running.stop() == 0


def of_bus(monkeypatch, error):
    """Callbacks into librdkafka's log: test_containment.py and the scenario `listener` raise there."""


def method(owner, name):
    def patch(monkeypatch, error):
        def raising(*_arguments, **_options):
            raise error

        monkeypatch.setattr(owner, name, raising)

    return patch


def report(monkeypatch, error):
    from swarm_consumer._connection import commits

    method(commits, "report")(monkeypatch, error)


def answered(monkeypatch, error):
    original, once = Delivery._answered, Once(error)

    def raising(self, *arguments):
        original(self, *arguments)
        once()

    monkeypatch.setattr(Delivery, "_answered", raising)


def error_callback(monkeypatch, error):
    """An error to call back for: no broker listens there."""
    method(Owner, "_report_error")(monkeypatch, error)


CALLBACKS = {
    ("owner.py:Owner._create", "on_assign"): (method(Rebalances, "assign"), ends_with_its_reason),
    ("owner.py:Owner._create", "on_revoke"): (method(Rebalances, "revoke"), stops_with_its_reason),
    ("owner.py:Owner._create", "on_lost"): (method(Rebalances, "assign"), ends_with_its_reason),  # the same guard
    ("owner.py:Owner._create", "error_cb"): (error_callback, ends_with_its_reason),
    ("owner.py:Owner._create", "stats_cb"): (method(ClientStatistics, "update"), ends_with_its_reason),
    ("owner.py:Owner._create", "on_commit"): (report, ends_with_its_reason),
    ("producer.py:Producer._create", "error_cb"): (of_bus, goes_on),  # does nothing but emit
    ("producer.py:Producer.produce", "on_delivery"): (answered, goes_on),
    ("_clients.py:Clients._made", "error_cb"): (of_bus, goes_on),  # in a process of its own
    ("cluster_check.py:check_cluster", "error_cb"): (of_bus, goes_on),  # in a process of its own
    ("clients.py:KafkaClients.consumer", "error_cb"): (of_bus, goes_on),  # these hand on what they were given
    ("clients.py:KafkaClients.consumer", "stats_cb"): (of_bus, goes_on),
    ("clients.py:KafkaClients.consumer", "on_commit"): (of_bus, goes_on),
    ("clients.py:KafkaClients.producer", "error_cb"): (of_bus, goes_on),
    ("clients.py:KafkaClients.admin", "error_cb"): (of_bus, goes_on),
    ("clients.py:KafkaClients._configuration", "logger"): (of_bus, goes_on),
    ("producer.py:Producer.__init__", "logger"): (of_bus, goes_on),  # of one that is made by hand
}


def test_every_callback_of_the_client_is_known():
    assert FOUND.callbacks == set(CALLBACKS)


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), WithoutText()], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize(
    "place", [place for place, (patch, _) in CALLBACKS.items() if patch is not of_bus], ids=lambda place: place[1]
)
def test_an_error_in_a_callback_of_the_client_is_dealt_with(
    embedded_broker, make_app, start, topic_name, monkeypatch, place, error
):
    patch, follows = CALLBACKS[place]
    topic = topic_name("flights")
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, VALUES)
    kafka = {"auto.commit.interval.ms": 50, "statistics.interval.ms": 50}
    if patch is error_callback:
        kafka |= {"bootstrap.servers": "127.0.0.1:1", "reconnect.backoff.max.ms": 50}
    app = make_app(group=topic, kafka=kafka, retry_backoff=0.01)
    patch(monkeypatch, error)

    @app.consume(topic)
    def handle(messages, consumer):
        if patch is answered:
            consumer.produce(f"{topic}-out", b"x")

    embedded_broker.create_topic(f"{topic}-out", 1)
    running = start(app)
    running.bootstrap, running.topic = embedded_broker.bootstrap, topic
    if patch is answered and not isinstance(error, Exception):
        follows = ends_with_its_reason  # it comes up in the handler that waits, and ends the node as one of its own
    follows(running, error)
