"""A note that raises, whichever of its methods: it costs the note, no record, and not the node."""

from __future__ import annotations

import pytest

from swarm_consumer._connection.contained_place import ContainedPlace
from swarm_consumer._scheduling.remembrance import is_token
from swarm_consumer.events import ErrorOccurred
from tests.consumer.notebook import Note, Notebook

CALLS = {
    "renew": lambda place: place.renew(),
    "begin": lambda place: place.begin(1, 2, 1, alone=True),
    "end": lambda place: place.end(handled=True),
    "settle": lambda place: place.settle(),
    "move": lambda place: place.move(3, None),
    "committed": lambda place: place.committed(3),
    "suspect": lambda place: place.suspect(None),
    "letters": lambda place: place.letters(1),
    "run_on": lambda place: place.run_on(),
    "release": lambda place: place.release(),
    "token": lambda place: place.token,
}


def broken(name, error):
    """A `Place` of which one thing raises."""

    def raising(self, *_, **__):
        raise error

    return type("Broken", (Note,), {name: property(raising) if name == "token" else raising})


def test_all_methods_of_a_place_are_known():
    assert set(CALLS) == {name for name in vars(ContainedPlace) if not name.startswith("_")}


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3)], ids=["an error", "an exit"])
@pytest.mark.parametrize("name", CALLS)
def test_the_first_error_is_told_and_the_note_is_left_as_it_is(name, error):
    told, notebook = [], Notebook()
    raw = Note(notebook, ("t", 0), True)
    raw.__class__ = broken(name, error)
    place = ContainedPlace(raw, told.append)
    CALLS[name](place)
    assert told == [error]
    written = len(notebook.written)
    for call in CALLS.values():
        call(place)
    assert told == [error]
    assert len(notebook.written) == written
    assert place.token == ""


def test_a_note_that_works_is_written():
    told, notebook = [], Notebook()
    place = ContainedPlace(Note(notebook, ("t", 0), True), told.append)
    for name, call in CALLS.items():
        before = len(notebook.written)
        found = call(place)
        assert name in ("end", "token") or len(notebook.written) == before + 1
        assert name != "token" or is_token(found)
    assert told == []


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"suspect", "letters", "run_on"}))
def test_a_run_whose_notes_raise_handles_and_commits_everything(embedded_broker, make_app, start, topic_name, name):
    class Memory(Notebook):
        def claim(self, scope, key, *, positions=True):
            note = super().claim(scope, key, positions=positions)
            note.__class__ = broken(name, ValueError("no sense"))
            return note

    from swarm_consumer.testing import produce
    from swarm_consumer.testing.outside_client import await_committed

    topic, seen = topic_name("flights"), []
    embedded_broker.create_topic(topic, 1)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(30)])
    app = make_app(group=topic, max_messages=10, kafka={"auto.commit.interval.ms": 50})

    @app.consume(topic)
    def handle(messages, consumer):
        seen.extend(message.offset for message in messages)
        if seen[-1] == 29 and seen.count(29) == 1:
            consumer.seek(20)

    running = start(app, memory=Memory())
    running.wait_for(lambda: seen.count(29) == 2, what="what was sought back to")
    await_committed(embedded_broker.bootstrap, topic, topic, {0: 30})
    assert running.stop() == 0
    assert [offset for offset in seen if seen.count(offset) == 1] == list(range(20))
    assert [str(event.error) for event in running.of(ErrorOccurred)] == ["no sense"]
