"""The body of the process that watches source files for `--reload`; `reloading.SourceWatch` is the parent's view.

It writes one line when it is ready and one for each change, and ends at the end of its stdin.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

LOOK_MS = 200
"""Length of one wait for changes. The end of the first wait means that the watch is set up."""


def changes(folder: str) -> Iterator[str]:
    """Print ``ready``, then the path of each changed file; caches, virtual environments and the like are left out."""
    from watchfiles import PythonFilter, watch

    ready = False
    for changed in watch(
        folder,
        watch_filter=PythonFilter(extra_extensions=[".toml"]),
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        if not ready:
            ready = True
            yield "ready"
        if changed:
            yield os.path.relpath(min(path for _, path in changed), folder)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Watch the folder that the first argument names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for line in changes(sys.argv[1]):
        os.write(1, f"{line}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    main()
