"""Who leaves the group for good at the end, also at an end by its own fault, and who cannot."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from swarm_consumer import App, ConfigurationError
from swarm_consumer._connection import ending
from swarm_consumer._connection.owner import Owner
from swarm_consumer.events import Assigned, ClientCreated, ErrorOccurred
from swarm_consumer.kafka.clients import KafkaClients
from swarm_consumer.routing import StaticIds


class Watched:
    """A client that notes how it ends."""

    def __init__(self, client, calls):
        self._client = client
        self._calls = calls

    def subscribe(self, topics, on_assign, **callbacks):
        self._client.subscribe(topics, on_assign=lambda _, partitions: on_assign(self, partitions), **callbacks)

    def unsubscribe(self):
        self._calls.append("unsubscribe")
        self._client.unsubscribe()

    def close(self):
        self._calls.append("close")
        self._client.close()

    def __getattr__(self, name):
        return getattr(self._client, name)


class Clients(KafkaClients):
    def __init__(self):
        super().__init__(log_level=0)
        self.calls = []
        self.errors = []

    def consumer(self, properties, *, error_cb=None, **callbacks):
        self.errors.append(error_cb)
        return Watched(super().consumer(properties, error_cb=error_cb, **callbacks), self.calls)


@pytest.fixture
def node(embedded_broker, topic_name, start):
    """Return a function that starts a static node: the running one, its clients, and the codes it was asked about."""

    def begin(
        leaving=True, groups=(), removed=None, own_id="rack", protocol=None, evict=None, static=("consumer",), **options
    ):
        topic, clients, codes = topic_name(), Clients(), []
        embedded_broker.create_topic(topic, 2)
        own = {} if own_id is None else {"group.instance.id": own_id}
        app = App("shop", {**embedded_broker.client_settings(*([protocol] if protocol else [])), **own})
        app.consume(topic, group="first")(lambda messages: None)
        for name, kafka in groups:
            app.group(name, kafka=kafka).consume(topic)(lambda messages: None)

        def asked(code):
            codes.append(code)
            return leaving(code) if callable(leaving) else leaving

        ids = StaticIds("shop.host.boot.0", frozenset(static))
        orders = {"leaving": asked, "removed": removed}
        running = start(app, node_id=0, clients=clients, static_ids=ids, evict=evict, **orders, **options)
        if not groups:
            running.wait_for_event(Assigned)
        return running, clients, codes

    return begin


@pytest.mark.parametrize("leaving", [True, False])
def test_an_orderly_end_leaves_if_asked_to(node, leaving):
    running, clients, codes = node(leaving)
    assert running.stop() == 0
    assert clients.calls == (["unsubscribe", "close"] if leaving else ["close"])
    assert codes == [0]


@pytest.mark.parametrize(
    ("own_id", "leaving", "removed", "leaves"),
    [
        (None, True, False, True),  # the whole swarm stops
        ("rack", True, False, False),  # and comes back under the ids that its user chose
        ("rack", True, True, True),  # scaled away
        (None, False, False, False),
    ],
)
def test_a_member_under_an_id_of_the_users_leaves_only_if_its_node_is_removed(node, own_id, leaving, removed, leaves):
    running, clients, codes = node(leaving, removed=lambda: removed, own_id=own_id)
    assert running.stop() == 0
    assert clients.calls == (["unsubscribe", "close"] if leaves else ["close"])
    assert codes == ([] if own_id else [0])


def test_who_stays_at_exit_code_1_alone_is_asked_with_it(node):
    running, clients, codes = node(lambda code: code != 1)
    running.runtime._connections[0].fail("a part of this node is broken")
    assert running.join() == 1
    assert clients.calls == ["close"]
    assert codes == [1]


@pytest.mark.parametrize("leaving", [True, False])
def test_an_end_by_its_own_fault_leaves_too_as_long_as_the_client_lives(node, leaving):
    """A node that failed kept its partitions for a session: it was the connection that looked whether it had failed."""
    running, clients, codes = node(leaving)
    running.runtime._connections[0].fail("a part of this node is broken")
    assert running.join() == 1
    assert clients.calls == (["unsubscribe", "close"] if leaving else ["close"])
    assert codes == [1]


def test_the_runtime_may_take_a_moment_to_say_whether_to_leave(node):
    running, clients, _ = node()
    asked = threading.Event()
    running.runtime.after_state(lambda: asked.wait(0.3))  # its own work comes first
    running.runtime._connections[0].fail("a part of this node is broken")
    assert running.join() == 1
    assert clients.calls == ["unsubscribe", "close"]


@pytest.mark.parametrize("when", ["at work", "while it stops"])
def test_a_client_with_a_fatal_error_does_not_wait_for_what_it_cannot_do(node, monkeypatch, when):
    running, clients, _ = node()
    (connection,) = running.runtime._connections
    dead = KafkaError(KafkaError._FATAL, fatal=True)
    if when == "at work":
        connection.requests.ask(lambda client: connection._owner._report_error(dead, None), 10)
        assert running.join() == 1
    else:
        last = lambda *_: connection._owner._report_error(dead, None)  # noqa: E731
        monkeypatch.setattr(ending.Ending, "commit_the_rest", last)
        assert running.stop() == 1
    assert clients.calls == ["close"]


def test_a_group_that_cannot_start_lets_those_that_could_leave(node):
    running, clients, codes = node(groups=[("second", {"socket.keepalive.enable": "perhaps"})])
    with pytest.raises(ConfigurationError, match="keepalive"):
        running.join()
    assert clients.calls == ["unsubscribe", "close"]
    assert codes == [1]


def test_an_exception_of_a_signal_handler_leaves_too(node):
    class Interrupted(Exception):
        pass

    running, clients, codes = node()

    def interrupt():
        raise Interrupted

    running.runtime.producer.serve = interrupt  # the thread of run() calls it at every turn
    with pytest.raises(Interrupted):
        running.join()
    assert clients.calls == ["unsubscribe", "close"]
    assert codes == [1]


def test_an_order_to_leave_that_comes_while_the_node_drains_counts(node):
    """A rolling restart, and the end of the whole swarm in the middle of it."""
    orders = []
    running, clients, _ = node(lambda code: bool(orders))
    drained = ending.Ending.commit_the_rest

    def late(self, client, until):
        drained(self, client, until)
        orders.append("leave")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending.Ending, "commit_the_rest", late)
        assert running.stop() == 0
    assert clients.calls == ["unsubscribe", "close"]


def test_a_question_that_raises_is_told_and_the_member_stays(node):
    def broken(code):
        raise OSError("the pipe is gone")

    running, clients, _ = node(broken)
    assert running.stop() == 0
    assert clients.calls == ["close"]


def test_a_connection_whose_runtime_says_nothing_waits_for_its_word_only_so_long(node, monkeypatch):
    monkeypatch.setattr(ending, "ORDER_S", 0.2)
    running, clients, _ = node()
    runtime = running.runtime
    monkeypatch.setattr(runtime, "fatal_error", lambda: None)  # it never looks
    runtime._connections[0].fail("a part of this node is broken")
    runtime._connections[0].thread.join(10)
    assert not runtime._connections[0].thread.is_alive()
    assert clients.calls == ["close"]


@pytest.mark.parametrize("method", ["unsubscribe", "poll"])
def test_a_client_that_cannot_leave_is_closed_all_the_same(node, monkeypatch, method):
    """Its threads went on, and so did its place in the group."""
    running, clients, _ = node()

    def broken(self, *_):
        if method == "poll" and "unsubscribe" not in clients.calls:
            return self._client.poll(*_)
        raise KafkaException(KafkaError(KafkaError._STATE))

    monkeypatch.setattr(Watched, method, broken, raising=False)
    assert running.stop() == 0
    assert clients.calls == (["close"] if method == "unsubscribe" else ["unsubscribe", "close"])
    assert running.wait_for_event(ErrorOccurred).where == "closing the client of first"


def stops_while_its_client_is_made_anew(running, clients, monkeypatch):
    """The order to stop comes in the middle of close(), which may take as long as a handler does."""
    (connection,) = running.runtime._connections
    closed = Watched.close

    def close(self):
        monkeypatch.setattr(Watched, "close", closed)
        running.runtime.stop()
        running.wait_for(lambda: connection.stopping, what="the order to stop")
        closed(self)

    monkeypatch.setattr(Watched, "close", close)
    connection._owner.silent.remake = "it does not fetch"
    assert running.join() == 0
    return clients.calls


def test_a_stop_for_good_while_the_client_is_made_anew_leaves_too(node, monkeypatch):
    """Its partitions waited for a session: it was closed as one that comes back, and no client was left to leave."""
    running, clients, _ = node(protocol="classic")
    calls = stops_while_its_client_is_made_anew(running, clients, monkeypatch)
    assert calls == ["close", "unsubscribe", "close"]


def test_the_same_under_the_other_protocol_is_removed(node, monkeypatch):
    removed = []
    evict = lambda group, members, *, within_s: removed.extend(members)  # noqa: E731
    running, clients, _ = node(evict=evict)
    calls = stops_while_its_client_is_made_anew(running, clients, monkeypatch)
    assert calls == ["close"]
    assert [one.instance_id for one in removed] == ["rack_0_first"]


def test_a_stop_before_a_client_is_made_anew_ends_it_as_any_other(node, monkeypatch):
    running, clients, _ = node(protocol="classic")
    (connection,) = running.runtime._connections
    turn = Owner._turn

    def last(self, client):
        self.silent.remake = "it does not fetch"
        running.runtime.stop()
        running.wait_for(lambda: connection.stopping, what="the order to stop")
        return turn(self, client)

    monkeypatch.setattr(Owner, "_turn", last)
    assert running.join() == 0
    assert clients.calls == ["unsubscribe", "close"]
    assert connection._owner._make_anew(clients) is clients  # it is left open for the end


def test_a_member_under_an_id_that_no_successor_has_leaves_at_every_end(node):
    """Another process has its own: under the one that it took instead its partitions waited for a session."""
    running, clients, _ = node(leaving=False, own_id=None, protocol="classic", static=("classic",))
    (connection,) = running.runtime._connections
    connection._owner._own_id_retaken_at = time.monotonic()
    connection._owner._own_id_taken = True
    running.wait_for(lambda: len(running.of(ClientCreated)) == 2, what="a client under another id")
    assert running.stop() == 0
    assert clients.calls == ["close", "unsubscribe", "close"]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_who_leaves_waits_for_its_request_and_no_longer(node, monkeypatch, protocol):
    """For a tenth of a second in some ends the request was not on its way yet, and all waited for three of them."""
    running, clients, _ = node(protocol=protocol)
    answers = []

    def memberid(self):
        if "unsubscribe" not in clients.calls:
            return self._client.memberid()
        answers.append(None)
        return "m-1" if len(answers) < 40 else None

    monkeypatch.setattr(Watched, "memberid", memberid, raising=False)
    assert running.stop() == 0
    assert clients.calls == ["unsubscribe", "close"]
    assert len(answers) == (40 if protocol == "classic" else 0)


@pytest.mark.parametrize("leaving", [True, False])
def test_a_stop_while_the_member_leaves_to_join_again_is_a_stop(node, monkeypatch, leaving):
    running, clients, _ = node(leaving, protocol="classic", drain_timeout=1.0)
    (connection,) = running.runtime._connections
    unsubscribe = Watched.unsubscribe

    def stopped(self):
        monkeypatch.setattr(Watched, "unsubscribe", unsubscribe)
        running.runtime.stop()
        running.wait_for(lambda: connection.stopping, what="the order to stop")
        unsubscribe(self)

    monkeypatch.setattr(Watched, "unsubscribe", stopped)
    monkeypatch.setattr(Watched, "memberid", lambda self: "m-1", raising=False)  # it takes longer than there is time
    found = iter([[("t", 0)]])
    monkeypatch.setattr(connection._owner.left_behind, "look", lambda *_: next(found, []))
    assert running.join() == 0
    assert clients.calls == (["unsubscribe"] * (1 + leaving) + ["close"])
