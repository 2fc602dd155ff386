"""A wait for partitions is told, at times that grow; an empty assignment once."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from swarm_consumer import events
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._reporting.reminders import FIRST_S, PartitionWait, Reminders


@dataclass
class Client:
    subscription_group: str = "pricing"
    join_state: str | None = None
    has_partitions: bool = False


def told_of(client: Client, seconds: int) -> list[str]:
    bus, told = Bus(), []
    bus.subscribe(lambda event: told.append(str(event)), events.AwaitingPartitions)
    reminders = Reminders(bus)
    for now in range(seconds):
        reminders.look([client], float(now))
    return told


def test_the_wait_is_told_after_ten_seconds_and_then_each_time_it_has_doubled() -> None:
    told = told_of(Client(join_state="wait-join"), 100)
    assert [line.split(" for ")[2].split(" s ")[0] for line in told] == ["10", "20", "40", "80"]
    assert told[0].startswith("pricing: waiting for partitions from the group")
    assert "(join state wait-join)" in told[0]
    assert "join state" not in told_of(Client(), 12)[0]


def test_an_empty_assignment_is_told_once() -> None:
    assert told_of(Client(join_state="steady"), 1000) == [
        "pricing: no partitions for this node: other members of the group have all of them"
    ]


def test_a_client_with_partitions_waits_for_nothing_and_a_new_wait_begins_anew() -> None:
    assert told_of(Client(has_partitions=True), 100) == []
    wait = PartitionWait()
    assert wait.look(False, "wait-join", 0.0) is None
    assert wait.look(False, "wait-join", FIRST_S) == FIRST_S
    assert wait.look(True, "steady", 12.0) is None
    assert wait.look(False, "wait-join", 13.0) is None
    assert wait.look(False, "wait-join", 13.0 + FIRST_S) == FIRST_S


@given(st.lists(st.tuples(st.floats(0.1, 5), st.booleans(), st.sampled_from([None, "wait-join", "steady"]))))
def test_it_is_told_at_most_a_few_times_however_long_it_lasts(steps: list[tuple[float, bool, str | None]]) -> None:
    wait, now, told, began = PartitionWait(), 0.0, 0, None
    for passed, has, state in steps:
        now += passed
        if has:
            began, told = None, 0
        elif began is None:
            began = now
        if wait.look(has, state, now) is not None:
            told += 1
            assert not has
            assert began is not None
            assert FIRST_S * 2 ** (told - 1) <= now - began
