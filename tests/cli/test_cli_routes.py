"""`routes`: what is declared and what of it would run, as columns and as JSON, without a broker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_cli.views.table import table_lines

APP = """
from swarm_consumer import App, Consumer
app = App("shop", kafka={"bootstrap.servers": "127.0.0.1:1"})
@app.topic("orders", group="billing", max_messages=7)
class Orders(Consumer):
    def consume(self, messages): ...
@app.consume("refunds", group="billing", active=False)
def refunds(messages): ...
@app.consume("^audit-.*", group="audit", kafka={"session.timeout.ms": 9000}, subscription_group="auditors")
def audits(messages): ...
"""


def routes(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "shop.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "-m", "swarm_cli", "routes", "shop:app", *arguments],
        cwd=folder, env=os.environ | {"COLUMNS": "40"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_table_names_topics_groups_handlers_and_what_runs(tmp_path: Path) -> None:
    done = routes(tmp_path, "--exclude-topics", "^audit*")
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["TOPIC", "CONSUMER GROUP", "SUBSCRIPTION GROUP", "HANDLER", "RUNS"],
        ["^audit-.*", "audit", "auditors", "shop.audits", "no, filtered"],
        ["orders", "billing", "billing", "shop.Orders", "yes"],
        ["refunds", "billing", "billing", "shop.refunds", "no, inactive"],
    ]


def test_json_has_the_settings_too(tmp_path: Path) -> None:
    done = routes(tmp_path, "--json")
    entries = {entry["topic"]: entry for entry in json.loads(done.stdout)}
    assert entries["orders"]["settings"]["max_messages"] == 7
    assert entries["^audit-.*"]["pattern"] is True
    assert [entry["runs"] for entry in entries.values()] == ["yes", "yes", "no, inactive"]


def test_an_unknown_name_is_exit_2_with_the_nearest(tmp_path: Path) -> None:
    done = routes(tmp_path, "--include-consumer-groups", "biling")
    assert done.returncode == 2
    assert "did you mean 'billing'?" in done.stderr


def test_columns_align_numbers_right_and_never_break_a_line() -> None:
    lines = list(table_lines(("NAME", "N"), [("a", 5), ("long\nname", None), ("", 1234)], right=("N",)))
    assert lines == ["NAME          N", "a             5", "long name     -", "-          1234"]
    with pytest.raises(ValueError, match="zip"):
        list(table_lines(("ONE",), [("a", "b")]))
