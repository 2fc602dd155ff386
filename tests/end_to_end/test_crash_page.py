"""docs/what-a-crash-costs.md is as the code is, and its commands are commands."""

import re
import shlex
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from swarm_consumer._scheduling.take_over import Refusal

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "what-a-crash-costs.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
    if line.startswith("swarm-cli ")
]  # fmt: skip


def tool() -> Any:
    spec = spec_from_file_location("crash_page", ROOT / ".ci" / "crash_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_picture_tables_and_log_lines_are_current() -> None:
    command = [sys.executable, ".ci/crash_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_default_is_another_picture_and_another_table() -> None:
    page = tool()
    known = page.defaults()
    from dataclasses import replace

    other = replace(known, restart_delay_s=7.0, max_messages=17)
    assert ">7.2 s: " in page.picture(other)
    assert ">7.2 s" not in page.picture(known)
    assert "| 17 |" in page.written(PAGE, other)
    assert page.written(PAGE, known) == PAGE


def test_a_page_without_its_marks_is_refused() -> None:
    page = tool()
    with pytest.raises(SystemExit, match="no marks"):
        page.written("# What a crash costs\n", page.defaults())


def test_every_reason_of_a_refusal_is_on_the_page() -> None:
    assert [one.sentence for one in Refusal if one.sentence not in PAGE] == []


def test_the_picture_says_what_the_code_says() -> None:
    picture = (ROOT / "docs" / "crash.svg").read_text()
    known = tool().defaults()
    for total in (0.2, known.restart_delay_s + 0.2, known.session_s):
        assert re.search(rf">{total:g} s[:<]", picture)


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("command", [one for one in COMMANDS if " swarm " in one])
def test_a_command_of_the_page_starts_a_swarm_that_survives_a_death(
    command: str, embedded_broker: Any, start_swarm: Any, eventually: Any, tmp_path: Path
) -> None:
    (app,) = re.findall(r"```python\n(.*?)```", (ROOT / "packages" / "cli" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my_app.py").write_text(app)
    embedded_broker.create_topic("lines", 8)
    notes = Path("/dev/shm") / f"{tmp_path.name}.progress"
    arguments = [part.replace("/dev/shm/my_app.progress", str(notes)) for part in shlex.split(command)[1:]]
    try:
        swarm = start_swarm(
            *arguments, "--nodes", "2", "--bootstrap-servers", embedded_broker.bootstrap, PYTHONPATH=str(tmp_path)
        )
        pid = eventually(lambda: re.search(r"node 0 \(pid (\d+)\) is running", swarm.output()), 30, "node 0")[1]
        subprocess.run(["/bin/kill", "-9", pid], check=True)
        eventually(lambda: re.search(r"node 0 restarts now", swarm.output()), 30, "its restart at once")
        assert notes.exists() == ("--progress-memory" in command)
        assert swarm.stop() == 0
    finally:
        notes.unlink(missing_ok=True)
