"""docs/architecture.md says what the code is: its pictures, its stops, and where a change goes."""

import ast
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import swarm_consumer
from swarm_consumer import Batch, Consumer
from swarm_consumer.testing import run_messages

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONSUMER = Path(swarm_consumer.__file__).parent
BELOW = {
    "record": "packages/consumer/src/swarm_consumer",
    "report": "packages",
    "decision": "packages/supervisor/src/swarm_supervisor",
}
MOST_STOPS, MOST_FILES = 14, 8
THREADS = {"owner": "swarm-owner-", "worker": "swarm-worker-"}
Stop = tuple[str, str, str]


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(found)


def stops(of: str) -> list[Stop]:
    """(thread, process or part; file; function) of each stop, in the page's order."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \| `([^`]+)` \| `([^`]+)` \|", section(f"The way of a {of}"), re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    return [(where, file, function) for _, where, file, function in rows]


def functions(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_the_pictures_are_as_the_code_is() -> None:
    command = [sys.executable, ".ci/architecture.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("of", BELOW)
def test_each_stop_is_a_function_of_its_file(of: str) -> None:
    listed = stops(of)
    assert listed
    for _, file, function in listed:
        assert function in functions(ROOT / BELOW[of] / file), (file, function)


def test_every_file_and_every_name_of_the_page_exists() -> None:
    known = {
        name for package in ROOT.glob("packages/*/src") for path in package.rglob("*.py") for name in functions(path)
    }
    for text in re.findall(r"`([^`\n]+)`", PAGE.replace("drawn by `hatch", "")):
        if re.fullmatch(r"(packages|tests|docs|\.ci)[\w/.]*", text):
            assert (ROOT / text).exists(), text
        elif re.fullmatch(r"[A-Z]\w+\.\w+", text):
            assert text in known, text
        elif text.startswith("hatch run "):
            assert f"\n{text.split()[2]} = " in (ROOT / "hatch.toml").read_text(), text


class Way:
    """What a record comes by: every function of the consumer that is called, with its thread."""

    def __init__(self) -> None:
        self.calls: list[Stop] = []
        self.carriers: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(f"{CONSUMER}/"):
            return
        file = str(Path(code.co_filename).relative_to(CONSUMER))
        if file.startswith("testing/") or "<" in code.co_name:
            return
        given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        # The first argument of a method is the object itself: a batch or a run is no carrier of itself.
        if any(map(_has_record, given[1:] if code.co_varnames[:1] == ("self",) else given)):
            self.carriers.add((file, _qualified(frame)))
        self.calls.append((threading.current_thread().name, file, _qualified(frame)))


def _qualified(frame: FrameType) -> str:
    return frame.f_code.co_qualname.replace(".<locals>", "")


def _has_record(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_record, value))
    return (type(value).__module__.startswith(("cimpl", "confluent_kafka")) and hasattr(value, "value")) or (
        isinstance(getattr(value, "records", None), list)
    )


@pytest.fixture(scope="module")
def way() -> Way:
    class Handler(Consumer):
        def consume(self, messages: Batch[Any]) -> None:
            assert messages.raw_payloads() == [b'{"number":1}']

    way = Way()
    threading.setprofile(way)
    try:
        outcome = run_messages(Handler, [{"number": 1}])
    finally:
        threading.setprofile(None)
    assert outcome.committed == {("messages", 0): 1}
    return way


def test_a_record_comes_by_the_stops_of_the_page_in_their_order(way: Way) -> None:
    calls = iter(way.calls)
    for thread, file, function in stops("record"):
        for on, *where in calls:
            if where == [file, function] and on.startswith(THREADS[thread]):
                break
        else:
            pytest.fail(f"no record comes by {file}: {function} on the {thread} thread, behind the stops before it")


def test_nothing_that_is_given_a_record_is_missing_on_the_page(way: Way) -> None:
    listed = {(file, function) for _, file, function in stops("record")}
    passing = set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", section("The way of a record"), re.M))
    assert passing
    assert way.carriers - listed == passing


def test_the_way_is_short() -> None:
    listed = stops("record")
    assert len(listed) <= MOST_STOPS
    assert len({file for _, file, _ in listed}) <= MOST_FILES
