"""Prepares the supervisor for its forks: what nodes share is loaded, and its memory stays shared."""

import gc
import time

from swarm_supervisor.events import AfterWarmup, BeforeWarmup
from swarm_supervisor.listeners import Listeners
from swarm_supervisor.prctl import malloc_trim
from swarm_supervisor.signals import SignalInbox
from swarm_supervisor.threads import check_threads

_FROZEN_AT_IMPORT = gc.get_freeze_count()
"""Python 3.12 has some 375 objects frozen from its start: they are nobody's decision."""


def warm_up(listeners: Listeners, inbox: SignalInbox, threads: str) -> None:
    """Have listeners load what nodes share, and freeze it. `ForkRefusedError`: a thread is there that must not be.

    `Interrupted`: a second INT or TERM while the listeners ran.
    """
    started = time.monotonic()
    inbox.interruptible = True
    try:
        listeners.tell(BeforeWarmup(at=started))
    except BaseException as error:  # noqa: BLE001 - a signal handler of the application's, between two listeners
        listeners.contain("the warm-up", error)
    # Not before: what loads the application may want to be interrupted, by an alarm of its own for instance.
    listeners.called_out = inbox.foreign.wrap
    inbox.foreign.wrap()
    freeze_memory()
    inbox.interruptible = False
    now = time.monotonic()
    listeners.tell(AfterWarmup(at=now, duration_s=now - started, frozen_objects=gc.get_freeze_count()))
    check_threads(threads)


def freeze_memory() -> None:
    """Before the first fork, once: collect garbage, give free pages back, and freeze what is left.

    A collection writes into the header of every object that it looks at, and so copies the page of each: frozen objects
    are not looked at (gc.freeze()). What is frozen and becomes garbage in a cycle is never collected. So nothing is
    frozen at later forks: a supervisor would keep whatever its listeners had in a cycle at any of them.
    """
    gc.collect()
    malloc_trim()
    gc.freeze()


def collect_garbage() -> None:
    """Before any fork: what is garbage here would be collected, and its pages copied, in the node."""
    gc.collect()


def thaw_memory(frozen_before: int) -> None:
    """Undo gc.freeze(), unless the application had frozen something itself."""
    if frozen_before <= _FROZEN_AT_IMPORT:
        gc.unfreeze()
