"""Where each thread of this process is, for the log, before a node that hangs is stopped."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator

MAX_THREADS = 32
# A record of a log is written at once up to PIPE_BUF (4096 bytes); what is longer may be cut.
MAX_CHARACTERS = 3000


def stacks() -> Iterator[str]:
    """One text a thread, innermost frames last; its beginning is left out where it is too long.

    The thread that asks is left out. A thread in C code shows where it entered that.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    others = [(ident, frame) for ident, frame in sys._current_frames().items() if ident != own]
    for ident, frame in others[:MAX_THREADS]:
        text = "".join(traceback.format_stack(frame)).rstrip()
        if len(text) > MAX_CHARACTERS:
            text = "  …" + text[-MAX_CHARACTERS:]
        yield f"thread {names.get(ident, 'unknown')!r}:\n{text}"
    if len(others) > MAX_THREADS:
        yield f"{len(others) - MAX_THREADS} more threads"
