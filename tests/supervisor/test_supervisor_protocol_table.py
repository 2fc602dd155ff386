"""The table of planned replacement: complete, and as it is meant to be."""

import subprocess
import sys

import pytest

from swarm_supervisor._core import lifecycle, replacement
from swarm_supervisor._core.fleet import Fleet, Kind, Replacement
from swarm_supervisor._core.lifecycle import LifecycleError, State
from swarm_supervisor._core.protocol import PROTOCOL, Cue, Phase, Task, printed
from swarm_supervisor._core.step import Step
from swarm_supervisor.settings import Settings

NOT_BEGUN_AGAIN = {Cue.BEGIN}
MAIN_IS_OVER = {Cue.MAIN_GONE, Cue.MAIN_DONE}
IMPOSSIBLE = {
    # No replacement in progress: the protocol ignores everything that happens to the node.
    Phase.NONE: set(Cue) - {Cue.BEGIN},
    # The old process is there. It may stop only once the spare is ready, and a spare that is warm was forked.
    Phase.WARMING: NOT_BEGUN_AGAIN | MAIN_IS_OVER | {Cue.MAY_STOP, Cue.HEALTHY},
    # A spare that has died is not warm: by then the phase is WARMING, SPARE_LOST or OLD_LOST.
    Phase.WARM: NOT_BEGUN_AGAIN | MAIN_IS_OVER | {Cue.NOT_FORKED, Cue.SPARE_GONE, Cue.HEALTHY},
    Phase.HANDING_OVER: NOT_BEGUN_AGAIN | {Cue.MAY_STOP, Cue.NOT_FORKED, Cue.SPARE_GONE, Cue.HEALTHY},
    Phase.SPARE_LOST: NOT_BEGUN_AGAIN | {Cue.MAY_STOP, Cue.NOT_FORKED, Cue.HEALTHY},
    Phase.OLD_LOST: NOT_BEGUN_AGAIN | {Cue.MAY_STOP, Cue.HEALTHY},
    # There is no spare any more.
    Phase.WENT: NOT_BEGUN_AGAIN | {Cue.MAY_STOP, Cue.NOT_FORKED, Cue.SPARE_GONE},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("cue", Cue)
def test_every_pair_is_either_in_the_table_or_impossible(phase, cue):
    assert ((phase, cue) in PROTOCOL) != (cue in IMPOSSIBLE[phase])


def test_whatever_halts_the_rollout_says_why_and_nothing_else_does():
    for move in PROTOCOL.values():
        assert (Task.HALT in move.tasks) == bool(move.reason)


def test_before_go_the_old_process_is_kept_and_after_go_there_is_no_spare_to_kill():
    for (phase, _), move in PROTOCOL.items():
        assert (Task.KEEP_OLD in move.tasks) == (phase is Phase.WARMING and Task.HALT in move.tasks)
        assert phase is not Phase.WENT or Task.END_SPARE not in move.tasks


def test_only_a_warm_spare_is_told_to_go_and_only_when_the_old_process_has_gone():
    told = [cell for cell, move in PROTOCOL.items() if Task.GO in move.tasks]
    assert told == [(Phase.HANDING_OVER, Cue.MAIN_GONE)]
    assert [cell for cell, move in PROTOCOL.items() if move.next is Phase.WENT] == told


def test_from_every_phase_the_replacement_can_end():
    for phase in set(Phase) - {Phase.NONE}:
        assert PROTOCOL[phase, Cue.UNWANTED].next is Phase.NONE


def test_every_task_is_asked_for_and_carried_out():
    assert {task for move in PROTOCOL.values() for task in move.tasks} == set(Task) == set(replacement._TASKS)


def test_the_table_is_printed_whole_a_line_a_cell():
    lines = printed().splitlines()
    for line, ((phase, cue), (following, tasks, _)) in zip(lines, PROTOCOL.items(), strict=True):
        assert (
            line
            == f"{phase.value:12} {cue.value:16} -> {following.value:12} {', '.join(t.value for t in tasks)}".rstrip()
        )


def test_both_tables_are_printed_by_the_command_of_the_documentation():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "swarm_supervisor.lifecycle"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert lifecycle.printed() in done.stdout
    assert printed() in done.stdout


def test_the_core_refuses_what_cannot_happen():
    """By the same look-up as the table's own: a bug in the supervisor is no bad input."""
    fleet = Fleet(Settings(nodes=1), 1, 0.0)
    member = fleet.members[0]
    member.main.state = State.RUNNING
    replacement.running(Step(fleet, 0.0), member)  # nothing is under way: nothing to be said about it
    member.replacement = Replacement(Kind.RESTART, "asked for", member.main)
    assert replacement.phase_of(member) is Phase.WARMING
    with pytest.raises(LifecycleError, match="'healthy' cannot happen to a replacement that is warming"):
        replacement.running(Step(fleet, 0.0), member)
    assert member.replacement is not None
