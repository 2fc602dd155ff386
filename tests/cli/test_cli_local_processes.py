"""A supervisor may name any pid: what is done to a process here has to be one of its own nodes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_cli import running_swarms
from swarm_cli.errors import CommandError
from swarm_cli.local_processes import parent_of, same_pids
from swarm_cli.top_session import quiet_node


class Client:
    """A connection to a listener of this process, which says that it is a supervisor of any pid."""

    def __init__(self, path: Path, pid: int, node: int) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(str(path))
        self._snapshot = SimpleNamespace(pid=pid, nodes=[SimpleNamespace(id=0, pid=node)])

    def fileno(self) -> int:
        return self._sock.fileno()

    def status(self) -> Any:
        return self._snapshot

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.sock"))
        listener.listen()
        yield tmp_path / "s.sock"


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_who_listens_is_told_by_the_kernel(path: Path) -> None:
    client: Any = Client(path, os.getpid(), 1)
    assert same_pids(client, os.getpid())
    assert not same_pids(client, os.getppid())
    assert not same_pids(None, os.getpid())
    client.close()


def test_the_parent_is_read_whatever_the_name() -> None:
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) is None


@pytest.mark.parametrize(
    ("pid", "says"),
    [(1, "another pid namespace"), (os.getpid(), "not a child of the supervisor")],
    ids=["elsewhere", "here"],  # workers of one run have different pids, and must collect the same names
)
def test_a_process_that_is_no_node_of_the_one_who_listens_is_not_signalled(path: Path, pid: int, says: str) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        stranger = int(shell.stdout.readline())  # a grandchild: no supervisor of ours has forked it
        client: Any = Client(path, pid, stranger)
        assert says in quiet_node(client, 0)
        assert state_of(stranger) != "T"
        client.close()
        os.kill(stranger, 9)
        shell.kill()


def test_a_node_of_its_own_is_signalled(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0) as child:
        client: Any = Client(path, os.getpid(), child.pid)
        assert quiet_node(client, 0) == "node 0 is becoming quiet"
        deadline = time.monotonic() + 30
        while state_of(child.pid) != "T":  # TSTP stops a process that has no handler for it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        client.close()
        child.kill()


def test_the_socket_of_another_user_is_said_with_the_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import swarm_supervisor

    def refused(*_: Any) -> Any:
        raise swarm_supervisor.ControlError("no supervisor answers") from PermissionError(13, "Permission denied")

    monkeypatch.setattr(swarm_supervisor, "ControlClient", refused)
    with pytest.raises(CommandError, match=r"belongs to \S+: run this command as that user, as in sudo -u "):
        running_swarms.connected(path)
    with pytest.raises(CommandError, match="may not enter"):
        running_swarms.connected(path.parent / "missing.sock")
