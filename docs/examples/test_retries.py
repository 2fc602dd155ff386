"""How often a handler sees its records when one of them is poison; docs/retries.md explains it."""

import pytest

from swarm_consumer import App, Batch, Consumer, DeadLetters
from swarm_consumer.testing import run_messages

RECORDS = {"orders": [b"zero", b"one", b"poison", b"three"]}


def runs_of(marks: bool) -> list[list[int]]:
    """Return the offsets of each batch that the handler was given."""
    app, seen = App("shop", retry_backoff=0.01, retry_backoff_max=0.01), []

    @app.topic("orders", dead_letters=DeadLetters(topic="orders-dead", max_retries=2))
    class Orders(Consumer):
        def consume(self, messages: Batch[bytes]) -> None:
            seen.append([message.offset for message in messages])
            for message in messages:
                if message.payload == b"poison":
                    raise ValueError("poison")
                if marks:
                    self.mark_as_consumed(message)

    outcome = run_messages(app, RECORDS)
    assert [letter.value for letter in outcome.produced["orders-dead"]] == [b"poison"]
    return seen


@pytest.mark.parametrize(
    ("marks", "runs"),
    [
        (False, [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0], [1], [2], [3]]),
        (True, [[0, 1, 2, 3], [2, 3], [2, 3], [2], [3]]),
    ],
)
def test_marks_spare_the_records_before_the_poison(marks: bool, runs: list[list[int]]) -> None:
    assert runs_of(marks) == runs
