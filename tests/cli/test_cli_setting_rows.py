"""One row per setting: what follows from the rows is up to date and can be printed, and a new one is one edit."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from swarm_cli.settings import Settings
from swarm_consumer import App, Runtime
from swarm_consumer._running.process_settings import ProcessSettings
from swarm_liveness import LivenessListener
from swarm_liveness.settings import Limits, LivenessSettings
from swarm_supervisor.settings import Settings as SupervisorSettings
from tests.cli.source_copy import ROOT, copy_of_sources, insert, run


def test_what_is_made_of_the_rows_is_up_to_date() -> None:
    done = run(ROOT, ".ci/settings.py", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_table_of_all_settings_can_be_printed() -> None:
    done = run(ROOT, "-m", "swarm_cli", "info", "--settings", "--json")
    rows = {row["setting"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [field.name for field in dataclasses.fields(Settings)]
    assert rows["shutdown_timeout"] == {
        "setting": "shutdown_timeout", "type": "number", "default": 60.0, "unit": "seconds", "bounds": "above 0",
        "of": ["supervisor"], "in": ["swarm"], "rare": False, "help": Settings.rows()["shutdown_timeout"].help,
    }  # fmt: skip
    assert rows["memory_share"]["bounds"] == "above 0, 1 at most"
    assert rows["liveness_interval"]["of"] == ["supervisor", "liveness"]
    header, *lines = run(ROOT, "-m", "swarm_cli", "info", "--settings").stdout.splitlines()
    assert header.split() == ["SETTING", "TYPE", "DEFAULT", "UNIT", "BOUNDS", "OF", "IN", "HELP"]
    assert [line.split()[0].replace("-", "_") for line in lines] == list(rows)


def test_what_two_packages_declare_has_one_default() -> None:
    supervisors = {field.name: field.default for field in dataclasses.fields(SupervisorSettings)}
    both = {field.name: field.default for field in dataclasses.fields(LivenessSettings) if field.name in supervisors}
    assert both == {name: supervisors[name] for name in ("liveness_interval", "statistics_interval")}


@pytest.mark.parametrize(
    ("takes", "kind"), [(App, ProcessSettings), (Runtime, ProcessSettings), (LivenessListener, LivenessSettings)]
)
def test_a_keyword_has_the_default_of_its_row(takes: Any, kind: Any) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    keywords = {name: parameter.default for name, parameter in inspect.signature(takes).parameters.items()}
    shared = defaults.keys() & keywords.keys()
    assert shared
    assert {name: keywords[name] for name in shared} == {name: defaults[name] for name in shared}


def test_the_checks_of_a_process_take_every_row() -> None:
    names = {field.name for field in dataclasses.fields(LivenessSettings)}
    assert names == set(inspect.signature(LivenessListener).parameters)
    assert {field.name for field in dataclasses.fields(Limits)} <= names


ROW = '    patience: float = _row(7.0, "How long it waits ({default}).", "Times", unit="seconds", above=0)\n'
BEFORE = "    target_waits_for_go: bool"


def test_a_new_setting_is_one_row(tmp_path: Path) -> None:
    """The row is added to a copy of the sources; all that follows from it is there after `hatch run settings`."""
    copy = copy_of_sources(tmp_path)
    declared = copy / "packages" / "supervisor" / "src" / "swarm_supervisor" / "settings.py"
    insert(declared, BEFORE, ROW)
    assert run(copy, ".ci/settings.py", "--check").returncode == 1
    made = run(copy, ".ci/settings.py")
    assert made.returncode == 0, made.stderr
    assert made.stdout.count(": written\n") == 3
    assert run(copy, ".ci/settings.py", "--check").returncode == 0

    page = (copy / "docs" / "configuration.md").read_text()
    assert "| `patience` | SECONDS | How long it waits (7). |\n" in page
    keywords = declared.with_name("_settings_keywords.py").read_text()
    assert "    patience: float\n" in keywords

    here = tmp_path / "here"
    here.mkdir()

    def info(*words: str, **environment: str) -> Any:
        done = run(copy, "-m", "swarm_cli", "info", "--json", *words, folder=here, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["settings"]["patience"]

    assert info() == {"value": 7.0, "source": "default"}
    (here / "swarm.toml").write_text('patience = "5s"\n')
    assert info() == {"value": 5.0, "source": "swarm.toml"}
    assert info(SWARM_PATIENCE="4s") == {"value": 4.0, "source": "SWARM_PATIENCE"}
    assert info("--patience", "3000ms", SWARM_PATIENCE="4s") == {"value": 3.0, "source": "--patience"}
    assert "--patience SECONDS" in " ".join(run(copy, "-m", "swarm_cli", "swarm", "--help").stdout.split())
    refused = run(copy, "-m", "swarm_cli", "swarm", "--patience", "soon", "nowhere:app", folder=here)
    assert (refused.returncode, "'soon' is not a valid amount" in refused.stderr) == (2, True), refused.stderr
    ask = "from swarm_supervisor import Supervisor; Supervisor(lambda node: 0, patience={})"
    refused = run(copy, "-c", ask.format(0))
    assert "SettingsError: patience must be more than 0 seconds, not 0" in refused.stderr
    kept = run(copy, "-c", f"{ask.format(2)}; print(Supervisor(lambda node: 0, patience=2).settings.patience)")
    assert kept.stdout == "2\n", kept.stderr
