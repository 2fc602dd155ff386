"""How much slower this machine is than an idle one, measured beside a run: 5 ms of work, ten times a second.

A bound of 1.5 s for what takes 0.2 s of work cannot hold where ten processes wait for each core, and that says nothing
about what is measured. The figure is wall time by processor time, so 1.0 on an idle machine.
"""

import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK_S = 0.005
PAUSE_S = 0.1


class Canary:
    """A process that works a little, and what its lines say."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._slowness: list[float] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read, name="canary", daemon=True)

    def start(self) -> None:
        """Begin."""
        command = [sys.executable, "-m", "benchmarks.chaos.canary"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._thread.join(10)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def tell(self, at: float, slowness: float) -> None:
        """Take one figure."""
        self._at.append(at)
        self._slowness.append(slowness)

    def slowness(self, start: float, end: float) -> float | None:
        """Return how much slower the machine was on average; None: there is no figure of that time."""
        told = self._slowness[bisect_left(self._at, start) : bisect_right(self._at, end)]
        return max(1.0, sum(told) / len(told)) if told else None

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, slowness = map(float, line.split())
            self.tell(at, slowness)


def main() -> None:
    """Work, say how long it took, sleep, until there is no one to tell."""
    while True:
        began, used = time.monotonic(), time.thread_time()
        while (work := time.thread_time() - used) < WORK_S:
            pass
        at = time.monotonic()
        try:
            sys.stdout.write(f"{at:.6f} {(at - began) / work:.3f}\n")
            sys.stdout.flush()
        except OSError:
            return
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
