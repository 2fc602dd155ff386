"""The README: its examples run together and do what it says, and its settings are those that there are."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import swarm_supervisor
from swarm_supervisor.settings import Settings

README = (Path(__file__).parents[2] / "packages" / "supervisor" / "README.md").read_text()


def test_the_examples_do_what_they_say(tmp_path):
    program, report, listener = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    start, run = program.split('if __name__ == "__main__":')
    (tmp_path / "program.py").write_text(f'{start}{report}\n{listener}\nif __name__ == "__main__":{run}')
    # Unbuffered, print() writes a text and its line end apart, and those of several processes mix.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    totals = {int(n): int(total) for n, total in re.findall(r"^node (\d): (\d+)$", done.stdout, re.MULTILINE)}
    assert totals == {node: sum(range(node, 1_000_000, 4)) for node in range(4)}
    assert sum("exited with code 0" in line for line in said) == 4, "the listener printed every exit"


def test_every_setting_has_a_row():
    parameters = {*inspect.signature(swarm_supervisor.Supervisor).parameters} - {"target", "settings"}
    names = {field.name for field in dataclasses.fields(Settings)} | parameters
    table = README[README.index("## Settings") : README.index("## Planned replacement")]
    rows = {name for row in re.findall(r"^\| ([a-z_, ]+) \|", table, re.MULTILINE) for name in row.split(", ")}
    assert names <= rows, names - rows
    assert rows - {"setting"} <= names, rows - names
