"""Lines on their way out: whole or cut with a mark, never waited for by a supervisor, never twice."""

import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_cli import logs
from swarm_supervisor.logs import LineHandler, cut


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("swarm_consumer", logging.WARNING, __file__, 1, message, (), None)
    for name, value in extra.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def handler(fd: int, formatter: logging.Formatter, *, patient: bool = True) -> LineHandler:
    made = LineHandler(fd, patient=patient)
    made.setFormatter(formatter)
    return made


@given(message=st.text(alphabet=st.characters(codec="utf-8"), max_size=300).map(lambda text: text * 40))
def test_json_stays_json_within_the_limit(message: str) -> None:
    line = logs.JsonFormatter().format(record(message, topic="orders"))
    short = logs.JsonFormatter().shorten(line, 4095)
    assert len(short.encode("utf-8", "backslashreplace")) <= 4095
    read = json.loads(short)
    assert (read["topic"], read["level"]) == ("orders", "warning")
    assert (short == line) is (len(line.encode("utf-8", "backslashreplace")) <= 4095)


@given(text=st.text(max_size=2000), limit=st.integers(100, 2000))
def test_a_cut_keeps_beginning_and_end_within_the_limit(text: str, limit: int) -> None:
    short = cut(text, limit)
    size = len(text.encode("utf-8", "backslashreplace"))
    assert len(short.encode("utf-8", "backslashreplace")) <= limit
    assert (short == text) if size <= limit else ("bytes cut" in short)


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()])
def test_a_long_record_is_one_write_that_a_pipe_takes_whole(
    pipe: tuple[int, int], formatter: logging.Formatter
) -> None:
    handler(pipe[1], formatter).emit(record(f"begin {'x' * 100_000} end"))
    line = os.read(pipe[0], 1 << 20)
    assert len(line) <= select.PIPE_BUF
    assert line.count(b"\n") == 1
    assert b"begin" in line
    assert b" end" in line
    assert b"bytes cut" in line


def test_a_file_gets_a_long_record_whole(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as stream:
        handler(stream.fileno(), logs.TextFormatter()).emit(record("x" * 100_000))
    assert (tmp_path / "log").stat().st_size > 100_000


def test_a_supervisor_drops_what_finds_no_room_and_says_how_much(pipe: tuple[int, int]) -> None:
    impatient = handler(pipe[1], logs.TextFormatter(), patient=False)
    for _ in range(200):  # 200 KiB into a pipe of 64 KiB: waiting would never end
        impatient.emit(record("x" * 1000))
    dropped = impatient.dropped
    assert 100 < dropped < 200
    first = os.read(pipe[0], 1 << 20)
    assert first.count(b"\n") == 200 - dropped
    impatient.emit(record("after"))
    lines = os.read(pipe[0], 1 << 20).decode().splitlines()
    assert f"{dropped} log lines were dropped" in lines[0]
    assert lines[1].endswith(": after")
    assert impatient.dropped == 0


def test_a_reader_that_is_gone_hurts_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    gone = handler(writing, logs.TextFormatter())
    gone.emit(record("x"))
    os.close(writing)
    assert gone.dropped == 1
    assert capsys.readouterr().err == ""


def test_the_facts_of_an_event_are_fields() -> None:
    class Failed:
        topic, partition, offset, attempt = "orders", 0, 17, 2

    read = json.loads(logs.JsonFormatter().format(record("failed", event=Failed())))
    assert (read["event"], read["topic"], read["partition"], read["offset"]) == ("Failed", "orders", 0, 17)
    assert "reason" not in read


APPLICATION = """
import logging, logging.config, sys
from swarm_cli import logs
logs.configure("server", "info", "text")
before = logging.getLogger("swarm_consumer.librdkafka")
{setup}
logs.settle()
logging.getLogger("shop").warning("of the shop")
before.warning("of the client")
logging.getLogger("swarm_supervisor").info("of the package")
logging.getLogger("shop").debug("of no interest")
"""
SETUPS = {
    "nothing": "logging.getLogger('shop')",
    "basicConfig": "logging.basicConfig(level='DEBUG')",
    "forced basicConfig": "logging.basicConfig(level='DEBUG', force=True)",
    "a handler of its own": "logging.getLogger('shop').addHandler(logging.StreamHandler())",
    "a handler and no propagation": (
        "shop = logging.getLogger('shop'); shop.addHandler(logging.StreamHandler(sys.stdout)); shop.propagate = False"
    ),
    "dictConfig": (
        "logging.config.dictConfig({'version': 1, 'root': {'handlers': ['h'], 'level': 'ERROR'},"
        " 'handlers': {'h': {'class': 'logging.StreamHandler'}}})"
    ),
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_whatever_an_application_sets_up_each_line_is_there_once(setup: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", APPLICATION.format(setup=setup)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    ends = [line.rpartition(": ")[2] for line in done.stderr.splitlines()]
    assert ends == ["of the shop", "of the client", "of the package"]


def test_a_handler_that_writes_elsewhere_stays(tmp_path: Path) -> None:
    setup = f"logging.getLogger().addHandler(logging.FileHandler({str(tmp_path / 'own.log')!r}))"
    subprocess.run([sys.executable, "-c", APPLICATION.format(setup=setup)], capture_output=True, timeout=60, check=True)
    assert (tmp_path / "own.log").read_text().splitlines()[0] == "of the shop"
