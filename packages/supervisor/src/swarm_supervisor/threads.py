"""The threads of this process, as the kernel sees them: a fork copies one thread, but the locks of all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_LIBRDKAFKA = "rdk:"  # the prefix of librdkafka's thread names


class ForkRefusedError(RuntimeError):
    """The supervisor has another thread that must not exist at a fork. The text names it."""


def other_threads() -> list[str]:
    """The names of all threads except the calling one, including native threads."""
    own = threading.get_native_id()
    names = []
    for task in os.listdir("/proc/self/task"):
        if int(task) != own:
            try:
                names.append(_text(Path(f"/proc/self/task/{task}/comm").read_bytes()))
            except OSError:
                continue  # it has ended in the meantime
    return sorted(names)


def _text(name: bytes) -> str:
    # A name is 15 bytes that may end in the middle of a character, or not be text at all.
    return name.decode("utf-8", "replace").strip()


def check_threads(policy: str) -> list[str]:
    """Look for other threads before a fork, and return their names.

    `ForkRefusedError` for a thread of librdkafka, and for any other if the policy is "refuse".
    """
    names = other_threads()
    if not names:
        return []
    native = [name for name in names if name.startswith(_LIBRDKAFKA)]
    if native:
        raise ForkRefusedError(
            f"the supervisor has a Kafka client (thread {', '.join(native)}), and librdkafka does not survive a fork: "
            "make clients in the node, or use run_in_child() to ask Kafka"
        )
    if policy == "refuse":
        raise ForkRefusedError(
            f"the supervisor has other threads ({', '.join(names)}): a fork may copy a lock that one of them holds; "
            'stop them before run(), or set threads="warn"'
        )
    return names
