"""Finding the swarm that an operator means: the only one that runs, or the one that --control names."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swarm_cli.control_path import control_folder
from swarm_cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient

ANSWER_TIMEOUT_S = 5.0
"""How long a supervisor may take to answer; it does so from its loop, in milliseconds."""


class RunningSwarm(NamedTuple):
    """A swarm whose control socket takes connections."""

    path: Path
    pid: int
    name: str


def chosen_path(control: str | None) -> Path:
    """The control socket to talk to: `control` as a path or a supervisor's pid, or that of the only swarm here.

    Raises UsageError when several run and none is named, CommandError when there is none.
    """
    if control is None:
        return _only_one(control_folder())
    if control.lower() == "off":
        raise UsageError("the control socket is off (--control off): name that of a running swarm with --control PATH.")
    if control.isascii() and control.isdigit():
        return control_folder() / f"{control}.sock"
    return Path(control)


def connected(path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> "ControlClient":
    """A connection to the supervisor at `path`. Raises ControlError when nobody listens there."""
    from swarm_supervisor import ControlClient

    return ControlClient(path, timeout_s)


def running_swarms(folder: Path) -> list[RunningSwarm]:
    """Every swarm with a socket in `folder`; what dead supervisors have left there is passed over."""
    from swarm_supervisor import ControlError

    found = []
    for pid, path in _sockets(folder):
        if not _alive(pid):
            continue
        try:
            with connected(path, timeout_s=2.0) as client:
                name = client.status().name
        except ControlError as error:
            # A pid is used again: the socket of a dead supervisor may bear that of a living stranger.
            if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
                continue
            name = "does not answer"
        found.append(RunningSwarm(path, pid, name))
    return found


def _only_one(folder: Path) -> Path:
    _check_owner(folder)
    swarms = running_swarms(folder)
    if not swarms:
        raise CommandError(
            f"no swarm with a control socket runs here (looked in {folder}): start one with `swarm-cli swarm APP`, "
            "or name its socket with --control PATH."
        )
    if len(swarms) > 1:
        listed = ", ".join(f"{swarm.pid} ({swarm.name})" for swarm in swarms)
        raise UsageError(
            f"{len(swarms)} swarms run here, {listed}: choose one with --control PATH, as in "
            f"--control {swarms[0].path} (or --control {swarms[0].pid})."
        )
    return swarms[0].path


def _check_owner(folder: Path) -> None:
    # Anybody may make a folder of this name in a shared temporary folder, and a socket in it that says what he likes.
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandError(
            f"cannot look into {folder} ({error.strerror}): name a socket with --control PATH."
        ) from error
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise UsageError(f"{folder} is open to others or not yours: remove it, or name a socket with --control PATH.")


def _sockets(folder: Path) -> Iterator[tuple[int, Path]]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandError(
            f"cannot look into {folder} ({error.strerror}): name a socket with --control PATH."
        ) from error
    for name in names:
        pid, dot, ending = name.partition(".")
        if dot and ending == "sock" and pid.isascii() and pid.isdigit():
            yield int(pid), folder / name


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
