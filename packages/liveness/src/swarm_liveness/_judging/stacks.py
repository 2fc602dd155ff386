"""The stacks of all threads, which are logged before a node that hangs is stopped."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator

MAX_THREADS = 32
# A log record of up to PIPE_BUF (4096 bytes) is written in one piece; a longer one may be cut.
MAX_CHARACTERS = 3000


def stacks() -> Iterator[str]:
    """One text for each thread, innermost frame last. If a text is too long, its beginning is cut.

    The calling thread is left out. A thread in C code is shown where it entered that code.
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
