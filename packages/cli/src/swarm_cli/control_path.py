"""Where the control socket of a swarm is: one rule for creating it and for finding it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from swarm_cli.errors import UsageError

LONGEST = 107
"""Longest path of a Unix socket in bytes: sun_path holds 108 with the final zero byte (unix(7))."""


def control_folder() -> Path:
    """The folder of control sockets: $XDG_RUNTIME_DIR/swarm, or a folder of this user in the temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "swarm"
    return Path(tempfile.gettempdir()) / f"swarm-{os.getuid()}"


def is_path(control: str) -> bool:
    """Whether --control names a socket by its path; anything else is the pid or the name of a running swarm."""
    return "/" in control or control.endswith(".sock")


def control_path(chosen: str | None) -> Path | None:
    """The socket's path: None if switched off, `chosen` if given, else <folder>/<pid>.sock in a folder with mode 0700.

    Raises UsageError when `chosen` is no path, the folder cannot be made or is someone else's, or the path is too long.
    """
    if chosen is not None and chosen.lower() == "off":
        return None
    if chosen and not is_path(chosen):
        # SWARM_CONTROL=4711 is meant for the commands on a running swarm; here it would become a file of that name.
        raise UsageError(
            f"--control {chosen} (or SWARM_CONTROL) names a running swarm, but a new one needs a path: give one with a "
            f"'/', like ./{chosen}.sock, or leave it out."
        )
    path = Path(chosen) if chosen else control_folder() / f"{os.getpid()}.sock"
    if len(os.fsencode(path)) > LONGEST:
        raise UsageError(f"the control socket's path is longer than {LONGEST} bytes: choose a shorter one: {path}")
    if chosen is None:
        folder = path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.lstat()
        except OSError as error:
            raise UsageError(
                f"cannot make {folder} for the control socket ({error.strerror}): use --control."
            ) from error
        # Another user may have created a folder of this name in a shared temporary folder.
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise UsageError(
                f"{folder} is accessible to other users or not yours: remove it, or choose a place with --control."
            )
    elif not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the control socket.")
    return path
