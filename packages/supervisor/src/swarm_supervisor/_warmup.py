"""Prepares the supervisor for its forks: loads what nodes share, and keeps the memory shared."""

from __future__ import annotations

import gc
import time

from swarm_supervisor._listeners import Listeners
from swarm_supervisor._prctl import malloc_trim
from swarm_supervisor.events import AfterWarmup, BeforeWarmup
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.threads import check_threads

_FROZEN_AT_IMPORT = gc.get_freeze_count()
"""Python 3.12 starts with about 375 frozen objects, which the application did not freeze."""


def warm_up(listeners: Listeners, inbox: SignalInbox, threads: str) -> None:
    """Have listeners load what nodes share, and freeze it. `ForkRefusedError`: there is a forbidden thread.

    `Interrupted`: a second INT or TERM arrived while the listeners ran.
    """
    started = time.monotonic()
    inbox.interruptible = True
    try:
        listeners.tell(BeforeWarmup(at=started))
    except BaseException as error:  # noqa: BLE001  an application's signal handler, between two listeners
        listeners.contain("the warm-up", error)
    # Not earlier, because loading the application may rely on interruption, for example by its own alarm.
    listeners.called_out = inbox.foreign.wrap
    inbox.foreign.wrap()
    freeze_memory()
    inbox.interruptible = False
    now = time.monotonic()
    listeners.tell(AfterWarmup(at=now, duration_s=now - started, frozen_objects=gc.get_freeze_count()))
    check_threads(threads)


def freeze_memory() -> None:
    """Once, before the first fork: collect garbage, give free pages back, and freeze the rest.

    A collection writes into the header of every object that it visits, and so copies its page; frozen objects
    are not visited (gc.freeze()). Frozen objects that become garbage in a cycle are never collected. So nothing is
    frozen at later forks: a supervisor would keep every cycle that its listeners had at any of them.
    """
    gc.collect()
    malloc_trim()
    gc.freeze()


def collect_garbage() -> None:
    """Before any fork: collect garbage here, because the node would collect it and copy its pages."""
    gc.collect()


def thaw_memory(frozen_before: int) -> None:
    """Undo gc.freeze(), unless the application had frozen something itself."""
    if frozen_before <= _FROZEN_AT_IMPORT:
        gc.unfreeze()
