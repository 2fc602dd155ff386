"""A failed test shows the logs that its swarm has written, and keeps its folder."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FAILS = """
def test_fails(tmp_path):
    (tmp_path / "swarm.log").write_text("x" * 20_000 + "node 1 was killed by SIGKILL")
    assert False

def test_passes(tmp_path):
    (tmp_path / "swarm.log").write_text("nothing to see")
"""


def test_the_end_of_each_log_is_in_the_report_and_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "test_one.py").write_text(FAILS)
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\ntmp_path_retention_policy = failed\n")
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(kept), str(folder)]
    environment = os.environ | {"SWARM_REQUIRE_KAFKA": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the end of swarm.log" in done.stdout
    assert "node 1 was killed by SIGKILL" in done.stdout
    assert "x" * 9_000 not in done.stdout
    assert "nothing to see" not in done.stdout
    assert (kept / "test_fails0" / "swarm.log").exists()
    assert not (kept / "test_passes0" / "swarm.log").exists()
