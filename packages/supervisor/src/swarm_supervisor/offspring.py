"""The processes that a node has started through multiprocessing, and their end with it.

multiprocessing and concurrent.futures promise it in atexit hooks, which os._exit skips: a worker that nobody ends waits
for its next job for ever. Neither module has a public way to keep the promise, hence the private names.
"""

import contextlib
import sys
import threading
from typing import Any

END_S = 5.0
"""How long the processes of a node have to end with it: a queue that nobody reads would hold it for ever."""


def forget_inherited() -> None:
    """First thing in a node: what the supervisor's host has started is not this process's to end."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:  # what multiprocessing does in its own forks
        process._children = set()


def end_all() -> None:
    """Last thing in a node: end its processes as the interpreter would, and tell those to stop that are left then."""
    multiprocessing: Any = sys.modules.get("multiprocessing")
    if multiprocessing is None or "multiprocessing.util" not in sys.modules:
        return
    # A thread, since the interpreter's way has no deadline of its own.
    thread = threading.Thread(target=_as_the_interpreter_does, name="swarm-offspring", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread can be started any more
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
