"""How the nodes of a swarm are members of their groups: static ids of a prefix that no other swarm has at the time.

The prefix is ``<client id>.<host>.<boot>.<slot>``. The slot is the first that is free in all groups of the swarm on
this host, and stays taken until the supervisor and its last node are gone: the next supervisor then has the same ids,
and the nodes their partitions, without a rebalance. Swarms of other groups do not take it in between. Its lock is an
abstract unix socket for each group, which the forked nodes inherit and the kernel releases.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from swarm_cli.settings import Settings
from swarm_consumer.routing.static_ids import StaticIds, fitting

logger = logging.getLogger("swarm_cli")

MOST_SLOTS = 1000
"""How many swarms of one client id and one group may run on one host at a time, until some get no slot."""
LAST_NODE_S = 2.0
"""How long a start waits for a slot whose supervisor is dead: its nodes die with it, within milliseconds."""
LOOK_S = 0.005
LONGEST_CLIENT_ID, LONGEST_HOST = 80, 64
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ANY_SLOT = "<slot>"
"""Stands for the slot where none is taken."""
PROTOCOLS = {
    "auto": frozenset({"classic"}),
    "static": frozenset({"classic", "consumer"}),
    "dynamic": frozenset[str](),
}
"""The group protocols with static ids. Under group.protocol=consumer a broker keeps the id of a node that was killed
until its session ends, so that a static member would come back no sooner than a dynamic one."""


def protocols(settings: Settings) -> frozenset[str]:
    """The group protocols for which `settings` want static ids."""
    return PROTOCOLS[settings.membership]


def described(settings: Settings, client_id: str) -> StaticIds | None:
    """The static ids of nodes, for display: with no slot taken. None if there are none."""
    try:
        return _static_ids(settings, client_id, ANY_SLOT) if protocols(settings) else None
    except OSError:
        return None


@contextmanager
def supervised(settings: Settings, client_id: str, members: Mapping[str, str]) -> Iterator[StaticIds | None]:
    """Hold the slot of this swarm and yield its static ids; None for dynamic members.

    `members`: the protocol of each consumer group that has no ``group.instance.id`` of the application's. Enter it
    before the first fork. Where no slot can be had, a warning gives the reason.
    """
    lock = None
    try:
        groups = sorted(group for group, protocol in members.items() if protocol in protocols(settings))
        if not groups:
            yield None
            return
        try:
            prefix = _prefix(client_id)  # before the lock: without it there is nothing to lock
            slot, lock = take_slot([f"{prefix} {group}" for group in groups])
        except OSError as error:
            logger.warning(
                "the nodes are dynamic members, whose partitions wait for the end of a session when they are killed: "
                "static ids need the host's name, %s and an abstract unix socket, and that failed: %s. To have them "
                "all the same, set --group-instance-id; --membership dynamic ends this warning",
                BOOT_ID, error.strerror or error,
            )  # fmt: skip
            yield None
            return
        yield _static_ids(settings, client_id, str(slot))
    finally:
        if lock is not None:
            lock.close()


def take_slot(names: Sequence[str], longest_s: float = LAST_NODE_S) -> tuple[int, ExitStack]:
    """Return the first slot that is free under all names, and what keeps it taken until all who have it are gone.

    Where two swarms have a name in common, they have different slots. Raises OSError where there is none, or no such
    socket is allowed.
    """
    until = time.monotonic() + longest_s
    for slot in range(MOST_SLOTS):
        with ExitStack() as locks:
            if all(_take(locks, address_of(name, slot), until) for name in names):
                return slot, locks.pop_all()
    raise OSError(errno.EAGAIN, f"{MOST_SLOTS} swarms of this client id run on this host already")


def address_of(name: str, slot: int) -> str:
    """The abstract address of the lock of a slot under a name."""
    return f"\0swarm/{hashlib.sha256(name.encode()).hexdigest()[:32]}/{slot}"


def _take(locks: ExitStack, address: str, until: float) -> bool:
    """Take one lock, and wait for it until then if its supervisor is dead. Return whether it is ours."""
    lock = locks.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    abandoned = False
    while not _taken(lock, address):
        abandoned = _abandoned(address, before=abandoned)
        if time.monotonic() >= until or not abandoned:
            return False
        time.sleep(LOOK_S)
    return True


def _taken(lock: socket.socket, address: str) -> bool:
    try:
        lock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    # Nothing is ever accepted: it shows who holds the slot. Each look stays in the queue, and Python's default is 128.
    lock.listen(socket.SOMAXCONN)
    return True


def _abandoned(address: str, *, before: bool) -> bool:
    """Whether a slot is free, or held only by nodes whose supervisor is dead. They are about to die, too.

    before: what the last look has shown.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        try:
            visitor.connect(address)
        except ConnectionRefusedError:
            return True  # free again, or its holder has not listened yet: the next attempt to take it shows which
        except BlockingIOError:
            return before  # the kernel's bound (4096) of looks is reached
        except OSError:
            return False
        credentials = visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid = int.from_bytes(credentials[:4], sys.byteorder, signed=True)
    if pid <= 0:
        return False  # of another pid namespace
    from swarm_pidfd import Pidfd, PidfdUnsupportedError  # `server` has no use for it

    try:
        with Pidfd(pid) as holder:
            return not holder.alive()
    except ProcessLookupError:
        return True
    except (PidfdUnsupportedError, OSError):
        return False


def _static_ids(settings: Settings, client_id: str, slot: str) -> StaticIds:
    where = f"--membership {settings.membership}"
    return StaticIds(f"{_prefix(client_id)}.{slot}", protocols(settings), where)


def _prefix(client_id: str) -> str:
    """The part of the ids that all swarms of an application on one host have in common. Raises OSError."""
    boot = BOOT_ID.read_text(encoding="ascii", errors="replace").strip()[:8]
    host = socket.gethostname()
    if not boot or not host:
        raise OSError(errno.ENOENT, "the host has no name, or the kernel no boot id")
    return f"{fitting(client_id, LONGEST_CLIENT_ID)}.{fitting(host, LONGEST_HOST)}.{fitting(boot, 8)}"
