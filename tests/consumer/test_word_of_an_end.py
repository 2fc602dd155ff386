"""An owner that gave work in hand away is about to end: the next one waits to hear how, for seconds at most."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from swarm_consumer._connection import kept_progress
from swarm_consumer._connection.kept_progress import KeptProgress
from swarm_consumer._reporting.bus import Bus
from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Verdict
from swarm_consumer.progress import ProgressMemory
from tests.consumer.notebook import remembered

KEY = ("orders", 0)
HAND = InHand(7, 9, 1, alone=False)
HUNG = Epitaph(Verdict.HUNG, "it hung")


class Told:
    """A memory that has the note of one partition, as the next of several answers."""

    def __init__(self, *notes):
        self.notes, self.asked = list(notes), 0

    def recall(self, scope, keys):
        self.asked += 1
        return {KEY: self.notes.pop(0) if len(self.notes) > 1 else self.notes[0]}


def recalled(memory):
    return KeptProgress(memory, "cluster", Bus(), positions=True).recall([KEY])[KEY]


def test_the_word_of_a_dying_owner_is_waited_for():
    untold = remembered(in_hand=HAND)
    memory = Told(untold, untold, replace(untold, epitaph=HUNG))
    assert recalled(memory).epitaph == HUNG
    assert memory.asked == 3


@pytest.mark.parametrize(
    "note",
    [
        remembered(in_hand=None),
        remembered(in_hand=HAND, epitaph=HUNG),
        remembered(in_hand=HAND, released=True),
        remembered(in_hand=HAND, runs_on=True),
        remembered(in_hand=HAND, epitaph=Epitaph(reason="its supervisor ended before it")),
    ],
)
def test_where_no_word_is_to_come_nothing_waits(note):
    memory = Told(note)
    assert recalled(memory) == note
    assert memory.asked == 1


def test_an_owner_that_runs_on_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(kept_progress, "WORD_S", 0.1)
    began = time.monotonic()
    assert recalled(Told(remembered(in_hand=HAND))).epitaph == Epitaph()
    assert 0.1 <= time.monotonic() - began < 30.0


def test_no_word_is_to_come_of_processes_of_an_earlier_supervisor(tmp_path):
    """Its file outlives it, and it wrote no word of them."""
    path = f"/dev/shm/{tmp_path.name}.word"
    first = ProgressMemory(2, path)
    try:
        place = first.of_life(0, 1).claim("cluster", KEY)
        assert place is not None
        place.begin(7, 9, 1, alone=False)
        own = first.of_life(1, 1).recall("cluster", [KEY])[KEY]
        assert own.epitaph == Epitaph()
        first.close()
        second = ProgressMemory(2, path)
        later = second.of_life(0, 1).recall("cluster", [KEY])[KEY]
        assert later.in_hand == HAND
        assert (later.epitaph.verdict, later.epitaph == Epitaph()) == (Verdict.UNKNOWN, False)
        second.close()
    finally:
        Path(path).unlink()


def test_a_partition_that_comes_back_to_its_own_process_is_not_waited_for(monkeypatch):
    """Its handler was too slow for the revocation, and still runs: a group of slow handlers would stand still."""
    memory = ProgressMemory(2)
    kept, sleeps = KeptProgress(memory.of_life(0, 1), "cluster", Bus(), positions=True), []
    other = KeptProgress(memory.of_life(1, 1), "cluster", Bus(), positions=True)
    monkeypatch.setattr(kept_progress, "WORD_S", 0.1)
    monkeypatch.setattr(kept_progress.time, "sleep", sleeps.append)
    place = kept.claim(KEY)
    assert place is not None
    place.begin(7, 9, 1, alone=False)
    place.renew()  # after a seek
    assert kept.recall([KEY])[KEY].in_hand == HAND
    assert not sleeps
    assert other.recall([KEY])[KEY].in_hand == HAND
    assert sleeps, "how it ends is news for others"
    memory.close()
