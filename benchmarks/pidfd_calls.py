"""What a process handle costs: each call, and the time from a SIGKILL until wait() has returned.

python benchmarks/pidfd_calls.py
"""

import gc
import os
import signal
import statistics
import time
import timeit

from swarm_pidfd import Pidfd, capabilities, supported

CALLS = 20_000
DEATHS = 300


def fork_sleeper():
    """Fork a child that does nothing."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def microseconds(function, number=CALLS):
    """Return the median time of a call, of five rounds."""
    return statistics.median(timeit.repeat(function, number=number // 5, repeat=5)) / (number // 5) * 1e6


def open_and_close(pid):
    """Open and close a handle."""
    with Pidfd(pid):
        pass


def death_notice():
    """Return the times from SIGKILL until wait() has returned the status of a reaped child, in milliseconds."""
    times = []
    for _ in range(DEATHS):
        with Pidfd(fork_sleeper()) as process:
            began = time.perf_counter()
            process.signal("KILL")
            process.wait()
            times.append((time.perf_counter() - began) * 1e3)
    return sorted(times)


def main():
    """Measure and print."""
    gc.disable()
    with Pidfd(fork_sleeper()) as process:
        for name, function in (
            ("open and close", lambda: open_and_close(process.pid)),
            ("alive()", process.alive),
            ("wait(0) of a living child", lambda: process.wait(0)),
            ("signal()", lambda: process.signal("CONT")),
            ("os.kill(), for comparison", lambda: os.kill(process.pid, signal.SIGCONT)),
        ):
            print(f"{name:32} {microseconds(function):8.1f} us")
        process.signal("KILL")
        process.wait()
    print(f"{'supported()':32} {microseconds(supported, 2000):8.1f} us")
    print(f"{'capabilities()':32} {microseconds(capabilities, 500):8.1f} us")
    times = death_notice()
    print(
        f"SIGKILL to reaped, {len(times)} small children: p50 {statistics.median(times):.3f} ms, "
        f"p99 {times[int(len(times) * 0.99)]:.3f} ms, worst {times[-1]:.3f} ms"
    )


if __name__ == "__main__":
    main()
