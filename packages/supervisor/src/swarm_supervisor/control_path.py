"""Takes the path of the control socket: bound for this user alone, and by one supervisor."""

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
"""sun_path holds 108 bytes with the zero at its end (unix(7))."""
_BACKLOG = 32
_LOCK_TIMEOUT_S = 5.0
_LOCK_LOOK_S = 0.01


def bind(path: Path) -> socket.socket:
    """Return a listening socket of this path. `SettingsError` if it cannot be used, or is in use."""
    encoded = os.fsencode(path)
    if len(encoded) > MAX_PATH_BYTES:
        raise SettingsError(
            f"control_socket has {len(encoded)} bytes and a Unix socket's path at most {MAX_PATH_BYTES}: {path}"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder_lock(path.parent):
            return _bind_locked(path, encoded)
    except OSError as error:
        raise SettingsError(f"control_socket {path} cannot be used: {error.strerror or error}") from error


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Keep another supervisor from taking the same path between a look at it and bind(), for a moment at most."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while time.monotonic() < deadline:  # a stranger may hold the lock for ever, or there are no locks here
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
        # The mode must be right from the start: a client that has connected stays, whatever the mode becomes.
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
            raise SettingsError(f"control_socket {path} exists and is no socket: remove it, or name another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink()  # nobody listens: its supervisor was killed
            return
        except OSError:
            pass
    raise SettingsError(f"control_socket {path} is in use by a supervisor that runs: name another path")
