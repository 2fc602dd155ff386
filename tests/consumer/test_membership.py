"""Who is removed from a group and when: the rules of the connection's member, and their order in a run."""

from __future__ import annotations

import gc
import threading
import time
import types

import pytest

from swarm_consumer import App
from swarm_consumer._connection.membership import EVICT_S, Membership
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.remembrance import Member
from swarm_consumer.events import Assigned, ClientCreated, ErrorOccurred


class Memory:
    """Remembers members as the shared memory of a swarm does; nothing else."""

    def __init__(self, *departed):
        self.dead = list(departed)
        self.members = []
        self.asked = 0

    def joined(self, member):
        self.members.append(member)

    def departed(self):
        self.asked += 1
        found, self.dead = self.dead, []
        return found

    def claim(self, scope, key, *, positions=True):
        return None

    def recall(self, scope, keys):
        return {}

    def handled(self, scope):
        return None


class Evictions:
    """What was asked of an Evict, and when."""

    def __init__(self, *errors):
        self.calls = []
        self.times = []
        self.errors = list(errors)

    def __call__(self, group, members, *, within_s=1.0):
        self.calls.append((group, list(members)))
        self.times.append((time.monotonic(), within_s))
        if self.errors:
            raise self.errors.pop()


def group(protocol="classic"):
    return types.SimpleNamespace(name="orders", protocol=protocol)


def client(member_id):
    return types.SimpleNamespace(memberid=lambda: member_id)


def member(protocol="classic", instance_id=None, *, departed=(), evict=None, memory=None):
    return Membership(group(protocol), instance_id, Bus(), memory=memory, evict=evict, departed=departed)


OWN_ID = "shop_1_orders"
DYNAMIC, STATIC, LEFT = Member("orders", "a/+="), Member("orders", "b", OWN_ID), Member("orders", "")
OTHER = Member("orders", "c", "before_1_orders")


@pytest.mark.parametrize(
    ("protocol", "departed", "removed"),
    [
        ("classic", [], []),
        ("classic", [DYNAMIC], [DYNAMIC]),
        ("classic", [LEFT], []),  # it has left in order
        ("classic", [STATIC], []),  # its successor comes back under the id, without a rebalance
        ("classic", [STATIC, DYNAMIC], [DYNAMIC]),
        ("classic", [OTHER, STATIC], [OTHER]),  # no one comes back under that id
        ("consumer", [DYNAMIC], [DYNAMIC]),
        ("consumer", [STATIC], [STATIC]),  # by the member id, with the instance id beside it
        ("consumer", [Member("orders", "", "shop_1_orders")], []),  # never by the instance id alone
    ],
)
def test_who_is_removed_before_there_is_a_client(protocol, departed, removed):
    evict = Evictions()
    one = member(protocol, OWN_ID, evict=evict, departed=departed)
    one.evict_departed()
    one.evict_departed()  # once
    assert evict.calls == ([("orders", removed)] if removed else [])
    assert [within_s for _, within_s in evict.times] == [EVICT_S] * bool(removed)


def test_what_has_our_own_id_is_removed_again_while_the_broker_refuses_it_to_us():
    evict = Evictions()
    one = member("consumer", OWN_ID, evict=evict, departed=[DYNAMIC, STATIC])
    one.evict_departed()
    one.evict_again()
    one.evict_again()
    assert evict.calls == [("orders", [DYNAMIC, STATIC]), ("orders", [STATIC]), ("orders", [STATIC])]
    assert evict.times[-1][1] == EVICT_S


@pytest.mark.parametrize(("protocol", "own_id"), [("classic", OWN_ID), ("consumer", None), ("consumer", "another")])
def test_nothing_else_is_removed_again(protocol, own_id):
    evict = Evictions()
    one = member(protocol, own_id, evict=evict, departed=[DYNAMIC, STATIC])
    one.evict_departed()
    one.evict_again()
    assert len(evict.calls) == 1


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_dynamic_member_comes_back_under_no_id_so_that_all_are_removed(protocol):
    evict = Evictions()
    member(protocol, evict=evict, departed=[STATIC, LEFT, DYNAMIC]).evict_departed()
    assert evict.calls == [("orders", [STATIC, DYNAMIC])]


def test_without_an_evict_nothing_happens():
    member(departed=[DYNAMIC]).evict_departed()


def test_an_error_of_the_evict_is_told_and_stops_nothing():
    bus, events = Bus(), []
    bus.subscribe(events.append)
    one = Membership(group(), None, bus, evict=Evictions(OSError("no")), departed=[DYNAMIC])
    one.evict_departed()
    assert [type(event) for event in events] == [ErrorOccurred]


class TestNotes:
    def test_the_member_id_is_noted_once_for_each_client(self):
        memory = Memory()
        one = member("consumer", "shop_1_orders", memory=memory)
        assert one.is_unknown
        one.note(client(""))  # the group has not answered yet
        one.note(client(None))
        assert one.is_unknown
        one.note(client("m-1"))
        one.note(client("m-1"))
        one.note(client("m-2"))  # thrown out, and back under another id
        one.begin_anew("shop_1_orders")
        one.note(client("m-2"))
        assert [each.member_id for each in memory.members] == ["m-1", "m-2", "m-2"]
        assert {each.instance_id for each in memory.members} == {"shop_1_orders"}

    def test_nobody_to_tell_asks_no_client(self):
        member().note(None)  # it would raise
        assert not member().is_unknown  # so that no turn asks

    def test_a_memory_that_raises_is_told(self):
        memory = Memory()
        memory.joined = lambda member: 1 / 0
        bus, events = Bus(), []
        bus.subscribe(events.append)
        Membership(group(), None, bus, memory=memory).note(client("m-1"))
        assert [type(event) for event in events] == [ErrorOccurred]


@pytest.mark.parametrize(
    ("protocol", "instance_id", "leaving", "forgotten", "removed"),
    [
        ("classic", None, False, True, False),  # close() leaves
        ("classic", None, True, True, False),
        ("classic", "shop_1_orders", False, False, False),  # it comes back
        ("classic", "shop_1_orders", True, True, False),  # unsubscribe() has left
        ("consumer", None, False, True, False),
        ("consumer", None, True, True, False),
        ("consumer", "shop_1_orders", False, True, False),  # it comes back, and is let in at once
        ("consumer", "shop_1_orders", True, True, True),  # librdkafka only says that it comes back
    ],
)
def test_the_end_of_a_member(protocol, instance_id, leaving, forgotten, removed):
    memory, evict = Memory(), Evictions()
    one = member(protocol, instance_id, memory=memory, evict=evict)
    one.note(client("m-1"))
    one.ended(leaving=leaving, deadline=time.monotonic() + 60)
    assert (memory.members[-1].member_id == "") == forgotten
    assert evict.calls == ([("orders", [Member("orders", "m-1", instance_id)])] if removed else [])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("leaving", [True, False])
@pytest.mark.parametrize(("sure", "left"), [(True, True), (False, False)])
def test_a_dynamic_member_whose_end_is_not_sure_stays_noted(protocol, leaving, sure, left):
    memory, evict = Memory(), Evictions()
    one = member(protocol, None, memory=memory, evict=evict)
    one.note(client("m-1"))
    one.ended(leaving=leaving, sure=sure, deadline=time.monotonic() + 60)
    assert (memory.members[-1].member_id == "") == left
    assert not evict.calls


def test_a_member_under_another_id_than_its_successor_s_stays_noted():
    memory = Memory()
    one = member("consumer", "shop_1_orders", memory=memory)
    one.begin_anew("shop_1_orders.1f2e")
    one.note(client("m-1"))
    one.ended(leaving=False, deadline=time.monotonic() + 60)
    assert memory.members[-1].member_id == "m-1"


@pytest.mark.parametrize(
    ("protocol", "instance_id", "kept"),
    [("classic", OWN_ID, True), ("classic", None, False), ("consumer", OWN_ID, False), ("consumer", None, False)],
)
def test_whom_close_keeps_in_the_group(protocol, instance_id, kept):
    one = member(protocol, instance_id)
    assert one.is_kept_by_close == kept
    assert not one.has_no_successor
    one.begin_anew(f"{OWN_ID}.1f2e")
    assert one.has_no_successor


@pytest.mark.parametrize(("left_s", "most_s"), [(60.0, EVICT_S), (0.4, 0.4), (-1.0, None)])
def test_leaving_takes_no_longer_than_the_stop_has(left_s, most_s):
    evict = Evictions()
    one = member("consumer", "shop_1_orders", evict=evict)
    one.note(client("m-1"))
    one.ended(leaving=True, deadline=time.monotonic() + left_s)
    given = [within_s for _, within_s in evict.times]
    assert given == [] if most_s is None else 0 < given[0] <= most_s


class TestRuns:
    """A runtime on the embedded broker."""

    def test_the_dead_are_removed_before_there_is_a_client(self, make_app, start, embedded_broker):
        embedded_broker.create_topic("flights", 2)
        app = make_app(group="orders")
        app.consume("flights")(lambda batch: None)
        other = Member("another", "z")
        memory, evict = Memory(DYNAMIC, other), Evictions()
        order = []
        app.on(ClientCreated)(lambda event: order.append((len(evict.calls), type(event))))
        running = start(app, memory=memory, evict=evict)
        running.wait_for_event(Assigned)
        running.wait_for(lambda: memory.members, what="a noted member id")
        assert evict.calls == [("orders", [DYNAMIC])]
        assert order == [(1, ClientCreated)]
        assert memory.asked == 1
        assert memory.members[0].group == "orders"
        assert memory.members[0].member_id
        assert running.stop() == 0
        assert memory.members[-1] == Member("orders", "")  # it has left: a successor has nothing to remove

    def test_each_subscription_group_gets_its_own(self, make_app, start, embedded_broker):
        embedded_broker.create_topic("flights", 1)
        embedded_broker.create_topic("parcels", 1)
        app = make_app(group="orders")
        app.consume("flights")(lambda batch: None)
        app.consume("parcels", group="parcels")(lambda batch: None)
        evict = Evictions()
        memory = Memory(DYNAMIC, Member("parcels", "p"), Member("gone", "g"))
        running = start(app, memory=memory, evict=evict)
        running.wait_for(lambda: len({each.group for each in memory.members}) == 2, what="both members")
        assert running.stop() == 0
        assert sorted(evict.calls) == [("orders", [DYNAMIC]), ("parcels", [Member("parcels", "p")])]

    @pytest.mark.parametrize("fails", [True, False])
    def test_where_a_node_fails_the_members_of_all_its_groups_stay_noted(self, make_app, start, embedded_broker, fails):
        """What the broker had forgotten was the leave of a group whose own client was well."""
        embedded_broker.create_topic("flights", 1)
        app = make_app(group="orders")
        app.consume("flights")(lambda batch: None)
        app.consume("flights", group="parcels")(lambda batch: None)
        memory = Memory()
        running = start(app, memory=memory)
        running.wait_for(lambda: len({each.group for each in memory.members}) == 2, what="both members")
        if fails:
            running.runtime._connections[0].fail("the group id does not exist")
            assert running.join() == 1
        else:
            assert running.stop() == 0
        noted = {each.group: each.member_id for each in memory.members}
        assert [bool(noted[group]) for group in ("orders", "parcels")] == [fails, fails]

    def test_a_memory_that_cannot_say_who_is_dead_stops_nothing(self, make_app, start, embedded_broker):
        embedded_broker.create_topic("flights", 1)
        app = make_app(group="orders")
        app.consume("flights")(lambda batch: None)
        memory = Memory()
        memory.departed = lambda: 1 / 0
        running = start(app, memory=memory, evict=Evictions())
        running.wait_for_event(Assigned)
        running.wait_for_event(ErrorOccurred)
        assert running.stop() == 0

    def test_a_stop_before_the_client_exists_waits_for_no_one(self, make_app, embedded_broker):
        from swarm_consumer import Runtime

        embedded_broker.create_topic("flights", 1)
        app = make_app(group="orders")
        app.consume("flights")(lambda batch: None)
        evict = Evictions()
        runtime = Runtime(app, memory=Memory(DYNAMIC), evict=evict)
        runtime._connections.append(runtime._connect(runtime._groups[0]))
        (connection,) = runtime._connections
        connection.stop(time.monotonic() + 5, leaving=lambda: False)
        connection.start()
        connection.thread.join(10)
        assert not connection.thread.is_alive()
        assert evict.calls == []


# The library lets go of a socket that did not connect; Python closes it, and says so.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_away_delays_a_start_by_a_second_at_most(start):
    pytest.importorskip("kafka.admin", reason="the extra swarm-consumer[evict] is not installed")
    import socket

    from swarm_consumer.admin import ClientProperties
    from swarm_consumer.eviction import Evictor, access, preload

    preload()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        app = App("test", {"bootstrap.servers": address, "log_level": 0}, group="orders")
        app.consume("flights")(lambda batch: None)
        (group,) = app.subscription_groups()
        evict = Evictor({"orders": access(ClientProperties(group, app.client_id, None))})
        created = threading.Event()
        app.on(ClientCreated)(lambda event: created.set())
        began = time.monotonic()
        running = start(app, memory=Memory(DYNAMIC), evict=evict, drain_timeout=2.0)
        assert created.wait(10)
        took = time.monotonic() - began
        running.runtime.stop()
        running.join()
        gc.collect()  # while those warnings are ignored
    print(f"the client was created after {took:.2f} s")
    assert took < 1.4
