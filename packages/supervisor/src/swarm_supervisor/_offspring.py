"""End the processes that a node started through multiprocessing together with the node.

multiprocessing and concurrent.futures do that in atexit hooks, which os._exit skips; without it a worker would wait
for its next job for ever. Neither module has a public function for it, hence the private names.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

END_S = 5.0
"""How long the processes of a node may take to end: a queue without a reader would block the node for ever."""


def forget_inherited() -> None:
    """Called first in a node: processes that the host program started must not be ended by the node."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:  # multiprocessing does the same in its own forks
        process._children = set()


def end_all() -> None:
    """Called last in a node: end its processes as the interpreter would, then send TERM to the rest."""
    multiprocessing: Any = sys.modules.get("multiprocessing")
    if multiprocessing is None or "multiprocessing.util" not in sys.modules:
        return
    # In a thread, because the interpreter's function has no deadline.
    thread = threading.Thread(target=_as_the_interpreter_does, name="swarm-offspring", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads can be started
        thread.start()
        thread.join(END_S)
    for child in multiprocessing.active_children():
        with contextlib.suppress(Exception):
            child.terminate()


def _as_the_interpreter_does() -> None:
    executors: Any = sys.modules.get("concurrent.futures.process")
    if executors is not None:
        executors._python_exit()
    util: Any = sys.modules["multiprocessing.util"]
    util._exit_function()
