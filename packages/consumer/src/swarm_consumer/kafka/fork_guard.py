"""Refuses Kafka clients in a process that is going to fork, at the call that would create one, naming the caller.

librdkafka's threads do not survive a fork, but its locks do. A supervisor sets this guard before it imports the
application; processes forked from it may create clients.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from swarm_consumer.errors import ForkError
from swarm_consumer.wording.place import caller

_guarded_pid = 0
_MARK = "_swarm_native"
_NATIVE = ("Consumer", "Producer", "ShareConsumer", "_AdminClientImpl")


def refuse_clients() -> None:
    """From now on, refuse every client of confluent-kafka in this process, and in this one alone.

    Idempotent. A class that other code has already bound to its own name is not covered.
    """
    global _guarded_pid
    if _guarded_pid == 0:
        _guard_classes()
    _guarded_pid = os.getpid()


def allow_clients() -> None:
    """End the refusal in this process."""
    global _guarded_pid
    _guarded_pid = -1


def check_clients_allowed(what: str) -> None:
    """Raise ForkError, with the file and line of the caller, if clients are refused."""
    if os.getpid() != _guarded_pid:
        return
    when = "on import" if _importing() else "in the supervisor"
    raise ForkError(
        f"{caller()} makes a Kafka client ({what}) {when}, and librdkafka does not survive the fork of the nodes: make "
        f"it in the app's lifespan (@app.lifespan), or when a node first needs it"
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """The process that created something that does not survive a fork; 0: none yet."""

    pid: int = field(default_factory=os.getpid)

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return self.pid == os.getpid()


def _importing() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "_call_with_frames_removed":  # importlib's own, around every module's code
            return True
        frame = frame.f_back
    return False


def _guard_classes() -> None:
    import confluent_kafka
    from confluent_kafka import cimpl

    # Existing subclasses of the client's classes; classes imported later derive from the guards.
    admin = sys.modules.get("confluent_kafka.admin")
    for module, name in (
        (confluent_kafka, "DeserializingConsumer"),
        (confluent_kafka, "SerializingProducer"),
        (confluent_kafka, "DeserializingShareConsumer"),
        (admin, "AdminClient"),
    ):
        if hasattr(module, name):
            _guard_constructor(getattr(module, name))
    # The classes of the C extension cannot be changed, so their names are rebound.
    natives = [native for name in _NATIVE if (native := getattr(cimpl, name, None)) is not None]
    _replace({each: _Guard(each.__name__, (each,), {"__module__": each.__module__, _MARK: each}) for each in natives})


class _Guard(type):
    """Replaces a client's class: a call checks, then creates an instance of the original class."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        check_clients_allowed(cls.__name__)
        native = cls.__dict__.get(_MARK)
        return super().__call__(*args, **kwargs) if native is None else native(*args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        native = cls.__dict__.get(_MARK)
        return super().__instancecheck__(instance) if native is None else isinstance(instance, native)


def _guard_constructor(python_class: Any) -> None:
    make = python_class.__init__

    @functools.wraps(make)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        check_clients_allowed(type(self).__name__)
        make(self, *args, **kwargs)

    python_class.__init__ = guarded


def _replace(guards: dict[Any, Any]) -> None:
    by_id = {id(native): guard for native, guard in guards.items()}
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict) and not by_id.keys().isdisjoint(map(id, names.values())):
            for name in [name for name, value in names.items() if id(value) in by_id]:
                names[name] = by_id[id(names[name])]
