"""A filter of records is an edit of one file, the backlog: what is next is decided there, and nowhere else."""

from pathlib import Path

from tests.cli.source_copy import copy_of_sources, insert, run

FILTER = """\
        keys = [record.key() for record in held]  # no key twice in a batch
        limit = next((n for n in range(1, min(limit, len(keys))) if keys[n] in keys[:n]), limit)
"""
BEFORE = "        self.held_bytes = self.held_bytes * max("
SCRIPT = """
from swarm_consumer import Consumer
from swarm_consumer.testing import Record, run_messages

class Keys(Consumer):
    def consume(self, messages):
        print(*(message.key.decode() for message in messages))

outcome = run_messages(Keys, [Record(b"", key=key.encode()) for key in "abacca"])
print(outcome.committed)
"""


def test_a_new_filter_is_an_edit_of_one_file(tmp_path: Path) -> None:
    copy = copy_of_sources(tmp_path)
    done = run(copy, "-c", SCRIPT)
    assert done.stdout.splitlines() == ["a b a c c a", "{('messages', 0): 6}"], done.stderr
    insert(copy / "packages" / "consumer" / "src" / "swarm_consumer" / "_scheduling" / "backlog.py", BEFORE, FILTER)
    done = run(copy, "-c", SCRIPT)
    assert done.stdout.splitlines() == ["a b", "a c", "c a", "{('messages', 0): 6}"], done.stderr
