"""No signal reaches a newcomer that has got the pid of a process whose handle is still open."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from swarm_pidfd import capabilities

SCENARIO = pathlib.Path(__file__).with_name("pid_reuse_scenario.py")

# A pid namespace makes its own pids. --mount-proc takes a private mount namespace along, so that the /proc of the
# namespace is seen in there and nowhere else (unshare(1)).
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
UNSHARE_UNPRIVILEGED = [*UNSHARE, "--user", "--map-root-user"]


@pytest.fixture(scope="module")
def namespace():
    """Return the command that runs another command in a pid namespace."""
    if shutil.which("unshare") is None:
        pytest.skip("the command unshare (util-linux) is not installed")
    last_pid = ["sh", "-c", "cat /proc/sys/kernel/ns_last_pid > /proc/sys/kernel/ns_last_pid"]
    for command in (UNSHARE, UNSHARE_UNPRIVILEGED):
        trial = subprocess.run([*command, *last_pid], capture_output=True, text=True, timeout=30)
        if trial.returncode == 0:
            return command
    pytest.skip(f"no pid namespace may be made here, or no pid chosen in it: {trial.stderr.strip()}")


@pytest.fixture(scope="module")
def seen(namespace):
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    run = subprocess.run([*namespace, sys.executable, str(SCENARIO)], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    assert pathlib.Path("/proc/self/mountinfo").read_text() == mounts
    return json.loads(run.stdout)


def test_the_handle_stays_with_the_dead(seen):
    assert seen["same_pid"]
    assert seen["alive"] is False
    assert seen["cleanup"] is True
    assert seen["status"] == ("killed by SIGKILL" if capabilities().exit_info else "ended, exit status unknown")


def test_no_signal_reaches_the_newcomer(seen):
    assert seen["signal"] == [False, False, False]
    assert seen["raced"] is False
    assert seen["kernel"] == "no such process"
    if capabilities().process_group:
        assert seen["group"] is False
    assert seen["pending_before"] == []


def test_the_newcomer_would_have_shown_a_signal(seen):
    assert seen["new_alive"] is True
    assert seen["pending_after"] == [signal.SIGUSR1, signal.SIGTERM]
    assert seen["new_status"] == "killed by SIGKILL"
