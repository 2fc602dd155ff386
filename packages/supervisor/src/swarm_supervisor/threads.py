"""The threads of this process, as the kernel sees them: a fork copies one of them, and the locks of all."""

import os
import threading
from pathlib import Path

_LIBRDKAFKA = "rdk:"  # the prefix of the names that librdkafka gives to its threads


class ForkRefusedError(RuntimeError):
    """Another thread runs in the supervisor that must not be there at a fork. The text names it."""


def other_threads() -> list[str]:
    """Names of all threads but the calling one, native ones included."""
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
    # A name is 15 bytes, which may end in the middle of a character, or be no text at all.
    return name.decode("utf-8", "replace").strip()


def check_threads(policy: str) -> list[str]:
    """Look for other threads before a fork: return their names.

    `ForkRefusedError` for a thread of librdkafka, and for any other if the policy is "refuse".
    """
    names = other_threads()
    if not names:
        return []
    native = [name for name in names if name.startswith(_LIBRDKAFKA)]
    if native:
        raise ForkRefusedError(
            f"a Kafka client lives in the supervisor (thread {', '.join(native)}): librdkafka does not survive a fork; "
            "make clients in the node, or ask what you must know in run_in_child()"
        )
    if policy == "refuse":
        raise ForkRefusedError(
            f"other threads run in the supervisor ({', '.join(names)}): a fork may copy a lock that one of them holds; "
            'stop them before run(), or set threads="warn"'
        )
    return names
