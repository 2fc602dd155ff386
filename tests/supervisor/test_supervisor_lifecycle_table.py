"""The lifecycle table: complete, closed, and as it is meant to be."""

import pytest

from swarm_supervisor._core.fleet import Fleet
from swarm_supervisor._core.lifecycle import (
    TABLE,
    LifecycleError,
    Order,
    State,
    Trigger,
    durations,
    printed,
    transition,
)
from swarm_supervisor._core.step import Step
from swarm_supervisor._core.transitions import fire
from swarm_supervisor.settings import Settings

IMPOSSIBLE = {
    # No process, so nothing that only a process can do.
    State.BACKING_OFF: {
        Trigger.HEALTHY,
        Trigger.UNHEALTHY,
        Trigger.READY,
        Trigger.LEAVING,
        Trigger.DUMPED,
        Trigger.GO,
        Trigger.EXITED,
    },
    State.BOOTING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO, Trigger.DUMPED},
    State.RUNNING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO, Trigger.DUMPED},
    State.DUMPING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO},
    State.STOPPING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO},
    State.LAST_DUMP: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO},
    State.KILLING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO},
    State.DEAD: set(Trigger),
    State.WARMING: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.GO, Trigger.DUMPED},
    # A warm spare has no deadline of its own: the stop of the old process has one.
    State.WARM: {Trigger.FORKED, Trigger.FORKED_SPARE, Trigger.FORK_FAILED, Trigger.DUE, Trigger.DUMPED},
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("trigger", Trigger)
def test_every_pair_is_either_in_the_table_or_impossible(state, trigger):
    assert ((state, trigger) in TABLE) != (trigger in IMPOSSIBLE[state])


def test_an_impossible_trigger_is_an_error():
    with pytest.raises(LifecycleError, match="'go' cannot happen to a life that is running"):
        transition(State.RUNNING, Trigger.GO)


def test_every_life_that_has_a_process_can_be_killed_and_ends_when_it_exits():
    for state in set(State) - {State.BACKING_OFF, State.DEAD}:
        assert TABLE[state, Trigger.EXITED].next is State.DEAD
        assert TABLE[state, Trigger.KILL].next is State.KILLING


def test_a_kill_is_always_announced_and_every_death_told():
    for (_, trigger), (_, orders, _) in TABLE.items():
        if Order.KILL in orders:
            assert orders[0] is Order.TELL_TERMINATING
        assert (trigger is Trigger.EXITED) == (Order.TELL_EXITED in orders)


def test_from_every_state_deadlines_alone_lead_to_the_end():
    """Whoever only waits for deadlines and exits gets every process killed."""
    for state in set(State) - {State.BACKING_OFF, State.DEAD, State.WARM}:
        path = [state]
        while path[-1] is not State.KILLING:
            path.append(TABLE[path[-1], Trigger.DUE].next)
            assert len(path) < 6


def test_durations_keep_the_dump_within_the_time_of_the_stop():
    for dump, shutdown in ((2.0, 60.0), (2.0, 1.0), (0.0, 5.0)):
        lasts = durations(Settings(stack_dump_timeout=dump, shutdown_timeout=shutdown))
        assert lasts[State.STOPPING] + lasts[State.LAST_DUMP] == shutdown
        assert lasts[State.STOPPING] >= 0


def test_the_table_is_printed_whole_a_line_a_cell():
    lines = printed().splitlines()
    for line, ((state, trigger), (following, orders, _)) in zip(lines, TABLE.items(), strict=True):
        before, after = line.split(" -> ")
        assert before == f"{state.value:12} {trigger.value:16}"
        told = after[13:]
        assert after[:13].strip() == following.value
        assert [order for order in told.split(", ") if order not in ("", "-")] == [order.value for order in orders]
    assert "running      due              -> dumping      emit NodeStopping, ask for its stacks" in lines


def test_the_core_refuses_what_cannot_happen():
    """By the same look-up as the table's own: a bug in the supervisor is no bad input."""
    fleet = Fleet(Settings(nodes=1), 1, 0.0)
    life = fleet.members[0].main
    with pytest.raises(LifecycleError, match="'healthy' cannot happen to a life that is backing off"):
        fire(Step(fleet, 0.0), life, Trigger.HEALTHY)
    assert life.state is State.BACKING_OFF
