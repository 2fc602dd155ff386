"""Every cell of the lifecycle table, every order and every deadline is needed: without it a promise is broken."""

import pytest

from swarm_supervisor._core import after_death, decisions, leaving, messages, restart_policy
from swarm_supervisor._core.lifecycle import TABLE, State, Transition
from swarm_supervisor.settings import Settings

MOST_RUNS = 1500


def mutants():
    """Tables with one cell or one order less."""
    for cell, transition in TABLE.items():
        name = f"{cell[0].value}, {cell[1].value}"
        yield f"{name}: removed", {key: value for key, value in TABLE.items() if key != cell}
        stays = Transition(cell[0], (), keep=True)
        if transition != stays:
            yield f"{name}: ignored", {**TABLE, cell: stays}
        for order in transition.orders:
            left = tuple(each for each in transition.orders if each is not order)
            yield f"{name}: no {order.value}", {**TABLE, cell: transition._replace(orders=left)}
        if not transition.keep and transition.next is cell[0]:
            yield f"{name}: deadline kept", {**TABLE, cell: transition._replace(keep=True)}


SETTINGS = [
    Settings(
        node_report_timeout=60.0,
        boot_timeout=30.0,
        max_unavailable=1 + seed % 3,
        node_restart_delay=(5.0, 0.0)[seed % 2],
        first_restart_delay=0.0 if seed == 4 else None,
        restart=("always", "on-failure")[seed % 2],
    )
    for seed in range(6)
]


def broken(simulation, table, prepare=lambda fleet: None):
    """The first promise that a world finds broken; None if it finds none."""
    for seed in range(MOST_RUNS):
        world = simulation.World(SETTINGS[seed % 6], 6, seed, table=table, fault_every_s=40.0)
        prepare(world.fleet)
        try:
            world.interrupted()
        except AssertionError as violation:
            return str(violation)
    return None


@pytest.mark.timeout(600)
def test_no_cell_and_no_order_of_the_table_can_go(simulation):
    survivors = [name for name, table in mutants() if broken(simulation, table) is None]
    assert survivors == []


@pytest.mark.parametrize("state", [state for state in State if state not in
                                   (State.BACKING_OFF, State.DEAD, State.WARM)])  # fmt: skip
def test_no_deadline_of_a_state_can_go(simulation, state):
    def without(fleet):
        fleet.durations[state] = None

    assert broken(simulation, TABLE, without) is not None


def test_the_delay_after_a_crash_cannot_go(simulation, monkeypatch):
    real = after_death.after_unplanned_exit

    def at_once(*arguments, **facts):
        return real(*arguments, **facts)._replace(delay_s=0.0)

    monkeypatch.setattr(after_death, "after_unplanned_exit", at_once)
    assert "invariant 2" in broken(simulation, TABLE)


def test_the_delay_after_a_signal_from_outside_cannot_go(simulation, monkeypatch):
    real = after_death.sequel

    def at_once(life, restart):
        what = real(life, restart)
        return after_death.Sequel.AT_ONCE if what is after_death.Sequel.AFTER_DELAY else what

    monkeypatch.setattr(after_death, "sequel", at_once)
    assert "invariant 2" in broken(simulation, TABLE)


def test_the_doubling_of_a_delay_cannot_go(simulation, monkeypatch):
    monkeypatch.setattr(restart_policy, "_MOST_DOUBLINGS", 0)
    assert "invariant 2" in broken(simulation, TABLE)


def test_the_word_about_the_successor_cannot_go(simulation, monkeypatch):
    monkeypatch.setattr(leaving, "tell", lambda step, life: None)
    assert "invariant 13: TERM without a word" in broken(simulation, TABLE)


def test_a_node_cannot_be_told_to_stay_whatever_follows(simulation, monkeypatch):
    monkeypatch.setattr(leaving, "successor_in_s", lambda *facts: 0.0)
    assert "invariant 13" in broken(simulation, TABLE)


def test_a_node_that_stops_already_cannot_be_forgotten_at_the_end_of_the_swarm(simulation, monkeypatch):
    monkeypatch.setattr(leaving, "tell_to_leave", lambda step, life: None)
    assert "invariant 13" in broken(simulation, TABLE)


def test_an_explanation_cannot_count_as_a_crash(simulation, monkeypatch):
    def counted(history, settings, **facts):
        return restart_policy.after_unplanned_exit(history, settings, **facts)

    monkeypatch.setattr(after_death, "after_excused_exit", counted)
    assert broken(simulation, TABLE) is not None


def test_an_end_cannot_stay_without_a_conclusion(simulation, monkeypatch):
    real = decisions._exited

    def without(step, happening):
        real(step, happening)
        step.actions[:] = [each for each in step.actions if not isinstance(each, messages.Conclude)]

    monkeypatch.setattr(decisions, "_exited", without)
    assert broken(simulation, TABLE) is not None


def test_the_retry_of_a_fork_that_failed_cannot_go(simulation, monkeypatch):
    monkeypatch.setattr(decisions, "FORK_RETRY_S", float("inf"))
    assert broken(simulation, TABLE) is not None


def test_an_absence_cannot_put_a_verdict_off_again_and_again(simulation, monkeypatch):
    def always(fleet, timed, anew_s, happening, now):
        if timed.deadline is not None:
            fleet.deadlines.set(timed, max(timed.deadline, now + anew_s))

    monkeypatch.setattr(decisions, "_excuse", always)
    assert "invariant 7: silence was not noticed" in broken(simulation, TABLE)


def test_the_budget_of_a_shutdown_cannot_go(simulation):
    def without(fleet):
        setter = fleet.deadlines.set
        fleet.deadlines.set = lambda thing, deadline: None if thing is fleet.budget else setter(thing, deadline)

    assert broken(simulation, TABLE, without) is not None


def test_the_table_itself_breaks_nothing(simulation):
    for seed in range(200):
        world = simulation.World(SETTINGS[seed % 6], 6, seed, fault_every_s=40.0)
        world.interrupted()
