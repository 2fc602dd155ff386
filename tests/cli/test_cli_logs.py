"""Log lines: one record one line, stable JSON fields, colours only where asked for."""

import json
import logging
import subprocess
import sys

import pytest

from swarm_cli import logs


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("swarm_consumer", logging.WARNING, __file__, 1, message, args, None)
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_a_line_break_in_a_message_does_not_start_a_new_record() -> None:
    line = logs.TextFormatter().format(record("first\n2026-01-01 00:00:00.000 ERROR forged"))
    assert all(part.startswith("    ") for part in line.splitlines()[1:])


def test_json_has_stable_fields_and_those_of_the_record() -> None:
    line = logs.JsonFormatter().format(record("late by %d s", 3, topic="orders", partition=2, offset=17))
    assert "\n" not in line
    read = json.loads(line)
    assert list(read)[:7] == ["time", "level", "logger", "role", "node", "pid", "message"]
    assert (read["message"], read["topic"], read["partition"], read["offset"]) == ("late by 3 s", "orders", 2, 17)
    assert read["level"] == "warning"


def test_an_exception_travels_in_the_same_line() -> None:
    try:
        raise ValueError("no\nluck")
    except ValueError:
        made = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert "ValueError: no\nluck" in json.loads(logs.JsonFormatter().format(made))["exception"]
    assert "\n" not in logs.JsonFormatter().format(made)


def test_the_node_is_named_once_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_node", None)
    monkeypatch.setattr(logs, "_role", "supervisor")
    assert " supervisor [" in logs.TextFormatter().format(record("x"))
    logs.name_node(3)
    assert " node 3 [" in logs.TextFormatter().format(record("x"))
    assert json.loads(logs.JsonFormatter().format(record("x")))["node"] == 3


@pytest.mark.parametrize(("variable", "wanted"), [("", True), ("1", False)])
def test_colours_need_a_terminal_and_no_no_color(monkeypatch: pytest.MonkeyPatch, variable: str, wanted: bool) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("NO_COLOR", variable)
    assert logs._colours(Terminal()) is wanted
    assert ("\x1b[" in logs.TextFormatter(colours=wanted).format(record("x"))) is wanted


def test_what_a_message_from_outside_says_cannot_steer_a_terminal() -> None:
    hostile = "\x1b]0;owned\x07 \x9b2J \u202etxt.exe \r done"
    try:
        raise ValueError(hostile)
    except ValueError:
        made = logging.LogRecord("app", logging.ERROR, __file__, 1, "refused: %s", (hostile,), sys.exc_info())
    line = logs.TextFormatter().format(made)
    assert all(each.isprintable() or each == "\n" for each in line)
    assert line.count(r"\x1b]0;owned\x07 \x9b2J \u202etxt.exe \r done") == 2


def test_what_the_application_gave_as_extra_is_a_field_and_replaces_none_of_ours() -> None:
    line = json.loads(logs.JsonFormatter().format(record("x", order=7, customer={"id": 3}, node="mine", pid="mine")))
    assert (line["order"], line["customer"]) == (7, {"id": 3})
    assert line["node"] != "mine"
    assert line["pid"] != "mine"
    assert not {"args", "msg", "levelno", "taskName", "event"} & set(line)


def test_a_traceback_that_the_record_brings_is_not_made_again() -> None:
    made = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), (ValueError, ValueError("x"), None))
    made.exc_text = "folded\x1b[31m"
    assert json.loads(logs.JsonFormatter().format(made))["exception"] == "folded\x1b[31m"
    assert logs.TextFormatter().format(made).endswith("folded\\x1b[31m")


APP_DECIDES = """
import logging, sys
from swarm_cli import logs
logs.configure("server", "info", "app")
logging.getLogger("swarm_consumer").info("before the import")
if sys.argv[1] == "sets up":
    logging.basicConfig(format="MINE %(message)s", level=logging.INFO, stream=sys.stderr)
logs.settle()
logging.getLogger("swarm_consumer").info("after the import")
"""


@pytest.mark.parametrize(("what", "last"), [("sets up", "MINE after the import"), ("sets nothing", " server [")])
def test_the_application_decides_where_it_is_left_to_it(what: str, last: str) -> None:
    done = subprocess.run([sys.executable, "-c", APP_DECIDES, what], capture_output=True, text=True, check=True)
    first, second = done.stderr.splitlines()
    assert first.endswith("before the import")
    assert " server [" in first
    assert last in second
    assert second.endswith("after the import")


class Unreadable:
    """A value whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


def test_no_extra_costs_its_record_or_makes_it_no_json() -> None:
    """A key that is no text lost the record, and NaN made a line that no strict reader takes."""
    circle: list[object] = []
    circle.append(circle)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for value in (float("nan"), float("inf"), {(1, 2): 3}, circle, Unreadable(), {"inner": float("nan")}):
        line = logs.JsonFormatter().format(record("kept", odd=value, fine=1))
        read = json.loads(line, parse_constant=refuse)
        assert (read["message"], read["fine"]) == ("kept", 1)
        assert read["odd"]
        assert "\n" not in line
        shorter = logs.JsonFormatter().shorten(line, len(line) - 5)
        assert json.loads(shorter, parse_constant=refuse)["message"] == "kept"
