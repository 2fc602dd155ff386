"""A memory of progress for tests, in this process: notes as plain values, and every call that wrote one."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Remembered

_claims = itertools.count(1)


class Note:
    """One claim of one partition (a `Place`)."""

    def __init__(self, notebook, key, positions):
        self._notebook, self._key, self._positions = notebook, key, positions
        notebook.places[key] = self
        self.renew()

    @property
    def token(self):
        return f"swarm:{self._claim:x}"

    def _write(self, **fields):
        if self._notebook.places.get(self._key) is not self:
            return  # superseded by a new claim
        now = replace(self._notebook.notes[self._key], written_ns=time.monotonic_ns(), **fields)
        self._notebook.notes[self._key] = now
        self._notebook.written.append((self._key, now))

    def renew(self):
        self._claim = next(_claims)
        before = self._notebook.notes.get(self._key) or remembered()
        self._notebook.notes[self._key] = remembered(
            life=self._notebook.life,
            token=self.token,
            in_hand=before.in_hand,
            suspects=before.suspects,
            letters=before.letters,
        )
        self._handled = False
        self._write()

    def begin(self, first, last, attempt, *, alone):
        self._write(in_hand=InHand(first, last, attempt, alone), runs_on=False)

    def end(self, *, handled):
        self._ended, self._handled = True, handled

    def settle(self):
        self._write(in_hand=None)
        if self._handled:
            self._handled = False
            self._notebook.runs += 1

    def move(self, position, leader_epoch):
        self._write(position=position if self._positions else None, leader_epoch=leader_epoch)

    def committed(self, offset):
        self._write(committed=offset)

    def suspect(self, suspects):
        self._write(suspects=suspects)

    def letters(self, in_a_row):
        self._write(letters=in_a_row)

    def run_on(self):
        self._write(runs_on=True)

    def release(self):
        self._write(released=True, position=None)


class Notebook:
    """The memory (a `Remembrance`). `notes` may be filled before, as if another process had written them."""

    def __init__(self, life=(0, 1)):
        self.life = life
        self.notes = {}
        self.written = []
        self.places = {}
        self.scopes = set()
        self.runs = 0

    def claim(self, scope, key, *, positions=True):
        self.scopes.add(scope)
        self.notes.pop(key, None)
        return Note(self, key, positions)

    def recall(self, scope, keys):
        self.scopes.add(scope)
        return {key: self.notes[key] for key in keys if key in self.notes}

    def handled(self, scope):
        return self.runs

    def joined(self, member):
        pass

    def departed(self):
        return []


def remembered(**fields):
    """A note that an earlier process may have left."""
    note = Remembered(
        life=(0, 1),
        token="swarm:0",
        position=None,
        leader_epoch=None,
        committed=None,
        written_ns=time.monotonic_ns(),
        released=False,
        complete=True,
        in_hand=None,
        suspects=None,
        letters=0,
        epitaph=Epitaph(),
        story=Epitaph(),
    )
    return replace(note, **fields)
