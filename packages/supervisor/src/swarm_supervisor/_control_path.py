"""Bind the path of the control socket, for this user only and by one supervisor only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from swarm_supervisor.settings import SettingsError

MAX_PATH_BYTES = 107
"""sun_path holds 108 bytes, including the final zero byte (unix(7))."""
_BACKLOG = 32
_LOCK_TIMEOUT_S = 5.0
_LOCK_LOOK_S = 0.01


def bind(path: Path) -> socket.socket:
    """Return a listening socket at this path. `SettingsError` if the path cannot be used or is in use."""
    encoded = os.fsencode(path)
    if len(encoded) > MAX_PATH_BYTES:
        raise SettingsError(
            f"control_socket has {len(encoded)} bytes but a Unix socket's path has at most {MAX_PATH_BYTES}: {path}"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder_lock(path.parent):
            return _bind_locked(path, encoded)
    except OSError as error:
        raise SettingsError(f"control_socket {path} cannot be used: {error.strerror or error}") from error


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Keep another supervisor from taking the same path between the check and bind(), for a moment at most."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while (
            time.monotonic() < deadline
        ):  # another process may hold the lock for ever, or the file system has no locks
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_LOOK_S)
            except OSError:
                break
        yield
    finally:
        os.close(fd)


def _bind_locked(path: Path, encoded: bytes) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode must be right from the start, because a connected client stays connected after a change.
        umask = os.umask(0o177)
        try:
            listener.bind(encoded)
        finally:
            os.umask(umask)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SettingsError(f"control_socket {path} exists and is not a socket: remove it, or use another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink()  # no process listens: its supervisor was killed
            return
        except OSError:
            pass
    raise SettingsError(f"control_socket {path} is in use by a running supervisor: use another path")
