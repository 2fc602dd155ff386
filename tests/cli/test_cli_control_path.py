"""The control socket's place: private, short enough, and never one that somebody else made."""

import os
import stat
from pathlib import Path

import pytest

from swarm_cli import control_path as module
from swarm_cli.control_path import control_path
from swarm_cli.errors import UsageError


def test_off_is_no_socket() -> None:
    assert control_path("off") is None


def test_the_default_is_by_pid_in_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = control_path(None)
    assert path == tmp_path / "swarm" / f"{os.getpid()}.sock"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("spoil", ["open", "link"])
def test_a_folder_that_is_not_private_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"swarm-{os.getuid()}"
    if spoil == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        folder.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="accessible to other users or not yours"):
        control_path(None)


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="107 bytes"):
        control_path("/" + "x" * 107)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        control_path(str(tmp_path / "missing" / "a.sock"))


@pytest.mark.parametrize("chosen", ["4711", "shop"])
def test_what_names_a_running_swarm_makes_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    """SWARM_CONTROL=4711 is set once for the commands of a shell, and `swarm` made a file ./4711 of it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"names a running swarm.*\./{chosen}\.sock"):
        control_path(chosen)
    assert control_path(f"./{chosen}") == Path(chosen)
