"""Find the swarm that an operator means: the only one running, or the one that --control names."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swarm_cli.control_path import control_folder, is_path
from swarm_cli.errors import CommandError, UsageError
from swarm_cli.suggestion import did_you_mean

if TYPE_CHECKING:
    from swarm_supervisor import ControlClient

ANSWER_TIMEOUT_S = 5.0
"""How long a supervisor may take to answer; normally it answers from its loop within milliseconds."""


class RunningSwarm(NamedTuple):
    """A swarm whose control socket accepts connections."""

    path: Path
    pid: int
    name: str


def chosen_path(control: str | None) -> Path:
    """The control socket to talk to: `control` as a path, a supervisor's pid or a swarm's name, or the only one here.

    Raises UsageError if several match, CommandError if there is none.
    """
    if control is None:
        return _only_one(control_folder())
    if control.lower() == "off":
        raise UsageError(
            "the control socket is off (--control off): name a running swarm's socket with --control PATH."
        )
    if is_path(control):
        return Path(control)
    folder = control_folder()
    _check_owner(folder)
    if control.isascii() and control.isdigit():
        return folder / f"{control}.sock"
    return _named(control, running_swarms(folder), folder)


def connected(path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> ControlClient:
    """A connection to the supervisor at `path`. Raises ControlError if no supervisor listens there."""
    from swarm_supervisor import ControlClient, ControlError

    try:
        return ControlClient(path, timeout_s)
    except ControlError as error:
        if isinstance(error.__cause__, PermissionError):
            raise CommandError(f"{path} {_whose(path)}.") from error
        raise


def running_swarms(folder: Path) -> list[RunningSwarm]:
    """Every swarm with a socket in `folder`; sockets left by dead supervisors are skipped."""
    from swarm_supervisor import ControlError

    found = []
    for pid, path in _sockets(folder):
        if not _alive(pid):
            continue
        try:
            with connected(path, timeout_s=2.0) as client:
                name = client.status().name
        except ControlError as error:
            # Pids are reused: the socket of a dead supervisor may be named after the pid of an unrelated process.
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
        raise UsageError(
            f"{len(swarms)} swarms run here, {_listed(swarms)}: choose one with --control NAME, PID or PATH, as in "
            f"--control {swarms[0].path} (or --control {swarms[0].pid})."
        )
    return swarms[0].path


def _named(name: str, swarms: list[RunningSwarm], folder: Path) -> Path:
    found = [swarm for swarm in swarms if swarm.name == name]
    if len(found) == 1:
        return found[0].path
    if found:
        pids = ", ".join(str(swarm.pid) for swarm in found)
        raise UsageError(f"{len(found)} swarms are named {name!r}: choose one by its pid with --control PID ({pids}).")
    meant = did_you_mean(name, [swarm.name for swarm in swarms], f"there is {_listed(swarms) or 'none'}.")
    raise CommandError(f"no swarm named {name!r} runs here (looked in {folder}; a path has a '/'): {meant}")


def _listed(swarms: list[RunningSwarm]) -> str:
    return ", ".join(f"{swarm.pid} ({swarm.name})" for swarm in swarms)


def _whose(path: Path) -> str:
    try:
        uid = path.stat().st_uid
    except OSError:
        return "is in a folder that this user may not enter: run this command as the swarm's own user, as with sudo"
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"belongs to user {uid}: run this command as that user, as in sudo -u '#{uid}'"
    return f"belongs to {owner}: run this command as that user, as in sudo -u {owner}"


def _check_owner(folder: Path) -> None:
    # Another user may create a folder of this name in a shared temporary folder, with a socket that sends anything.
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandError(
            f"cannot look into {folder} ({error.strerror}): name a socket with --control PATH."
        ) from error
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise UsageError(
            f"{folder} is accessible to other users or not yours: remove it, or name a socket with --control PATH."
        )


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
