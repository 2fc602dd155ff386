"""The file that a mapping is kept in, so that the notes outlive the supervisor: opened, locked, checked.

It must be on a tmpfs, because its pages are written at each batch and its times are those of one boot. It is locked
(flock) by the open file that the nodes inherit: it is free once the supervisor and its last node are gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from pathlib import Path
from zlib import crc32

from swarm_consumer.errors import ConfigurationError
from swarm_consumer.progress._layout import VERSION, Layout

_WAIT_S = 5.0
"""How long a start waits for the processes of the last supervisor to end."""
_MAGIC = b"swarmprg"
_HEAD = struct.Struct("<8sIII16s")
_SUM = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _SUM.size
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOUNTS = "/proc/self/mountinfo"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def head(layout: Layout, boot: bytes) -> bytes:
    """The first bytes of a mapping."""
    body = _HEAD.pack(_MAGIC, VERSION, layout.nodes, layout.partitions, boot)
    return body + _SUM.pack(crc32(body))


def open_file(path: Path, layout: Layout) -> int:
    """Return a descriptor of the file, locked, with memory for all but its life pages, and with the head of a layout.

    What an earlier supervisor of this boot left in it stays; a file of another boot, version or size is wiped.
    ConfigurationError: the file cannot be used, and why.
    """
    try:
        return _open(path, layout)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise _refusal(path, f"{getattr(error, 'strerror', None) or error}", _remedy(error)) from error


def _remedy(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "name a file on a tmpfs, for example in /dev/shm or /run"
    if error.errno == errno.ENOENT:
        return "make its folder first"
    if error.errno == errno.ELOOP:
        return "it is a link: name the file itself"
    if error.errno == errno.EISDIR:
        return "name a file in it"
    return "name a file on a tmpfs that this user may write, for example in /dev/shm or /run"


def _refusal(path: Path, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"the progress memory cannot be kept in {path}: {problem}; {remedy}")


def _open(path: Path, layout: Layout) -> int:
    boot = bytes.fromhex(Path(_BOOT_ID).read_text().strip().replace("-", ""))
    # Before the file is made: a refusal must leave nothing on a disk.
    _check_filesystem(path, os.stat(path.parent).st_dev)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        _check(path, os.fstat(descriptor))
        _lock(path, descriptor)
        _prepare(path, descriptor, layout, boot)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_filesystem(path: Path, device: int) -> None:
    kind = _filesystem(device)
    if kind != "tmpfs":
        raise _refusal(
            path,
            f"it is on {kind or 'an unknown filesystem'}, not on a tmpfs",
            "name a file on a tmpfs, for example in /dev/shm or /run",
        )


def _filesystem(device: int) -> str | None:
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in Path(_MOUNTS).read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [name]:
            return after.split()[0]
    return None


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(path, "it is no regular file", "name another path")
    if found.st_uid != os.geteuid():
        raise _refusal(
            path,
            f"it belongs to the user with the id {found.st_uid}, and this process runs as {os.geteuid()}",
            "name another path, or remove it",
        )
    if found.st_mode & _OTHERS:
        raise _refusal(
            path,
            f"other users have access to it (mode {stat.S_IMODE(found.st_mode):04o})",
            f"check who has written to it, and remove it or run `chmod 600 {path}`",
        )
    if found.st_nlink != 1:
        raise _refusal(path, f"it has {found.st_nlink} names (hard links)", "name another path, or remove the others")
    _check_filesystem(path, found.st_dev)


def _lock(path: Path, descriptor: int) -> None:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _refusal(
                    path,
                    f"another supervisor or one of its nodes has it locked, still after {_WAIT_S:g} s",
                    "give each swarm of this machine a path of its own, or end the other one",
                ) from None
            time.sleep(0.02)
        else:
            return


def _prepare(path: Path, descriptor: int, layout: Layout, boot: bytes) -> None:
    size = os.fstat(descriptor).st_size
    wanted = head(layout, boot)
    found = os.pread(descriptor, _HEAD_BYTES, 0)
    if size and not found.startswith(_MAGIC):
        raise _refusal(path, "it is a file of something else", "name another path, or remove it")
    if found != wanted or size != layout.size:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, wanted, 0)
    try:
        # Without memory, a write of the supervisor would end it with SIGBUS. Nodes take memory for theirs.
        os.ftruncate(descriptor, layout.size)
        os.posix_fallocate(descriptor, 0, layout.pages_at)
    except OSError as error:
        os.ftruncate(descriptor, 0)
        raise _refusal(
            path,
            f"its filesystem is full: it needs {layout.pages_at / 2**20:.1f} MiB at once, and at most "
            f"{layout.page / 2**20:.1f} MiB more with each node ({error.strerror})",
            "make the tmpfs larger, or name a file on another one",
        ) from error
