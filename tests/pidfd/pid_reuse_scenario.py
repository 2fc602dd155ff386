"""Runs as PID 1 of a pid namespace of its own: makes the kernel give a pid away again while a handle is open.

Writes what it saw to standard output as JSON. The test that starts it judges.
"""

import json
import os
import signal
import sys

from swarm_pidfd import Pidfd, _pidfd


def fork(body):
    """Fork a child that runs ``body`` and waits for ever after."""
    gate, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        body()
        os.write(tell, b"y")
        while True:
            signal.pause()
    os.close(tell)
    assert os.read(gate, 1) == b"y"
    os.close(gate)
    return pid


def fork_with_pid(pid, body):
    """Fork until a child has that pid. The kernel hands out the pid after the last one, if it is free."""
    for _ in range(100):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        newcomer = fork(body)
        if newcomer == pid:
            return
        os.kill(newcomer, signal.SIGKILL)
        os.waitpid(newcomer, 0)
    sys.exit(f"pid {pid} was not handed out again")


def newcomer_body():
    """Lead a process group and hold every signal back, so that each one that arrives stays to be seen."""
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def pending_signals(pid):
    """Return the signals that have arrived at a process that holds them back: private ones and shared ones."""
    with open(f"/proc/{pid}/status") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return sorted(number for number in signal.valid_signals() if any(mask >> (number - 1) & 1 for mask in masks))


def signal_as_if_it_ended_just_now(handle):
    """Send a signal with the look before it switched off: the process ended between the look and the signal."""
    look, _pidfd._has_ended = _pidfd._has_ended, lambda _fd: False
    try:
        return handle.signal("USR2")
    finally:
        _pidfd._has_ended = look


def main():
    """Let a child die, have its pid used again, and use the old handle in every way."""
    victim = fork(lambda: os.setpgid(0, 0))
    old = Pidfd(victim)
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    fork_with_pid(victim, newcomer_body)
    seen = {
        "same_pid": old.pid == victim,
        "alive": old.alive(),
        "signal": [old.signal(name) for name in ("TERM", "USR1", "KILL")],
        "raced": signal_as_if_it_ended_just_now(old),
        "status": str(old.wait(5)),
    }
    try:
        signal.pidfd_send_signal(
            old.fileno(), signal.SIGTERM
        )  # the kernel's own answer, with nothing of ours before it
    except ProcessLookupError:
        seen["kernel"] = "no such process"
    try:
        seen["group"] = old.signal("HUP", group=True)
    except OSError as error:
        seen["group"] = f"unsupported: {error}"
    seen["cleanup"] = old.cleanup()
    seen["pending_before"] = pending_signals(victim)

    # The proof that the newcomer would have shown it: the same calls through the pid and through a handle of its own.
    new = Pidfd(victim)
    os.kill(victim, signal.SIGTERM)
    new.signal("USR1")
    seen["new_alive"] = new.alive()
    seen["pending_after"] = pending_signals(victim)
    new.signal("KILL")
    seen["new_status"] = str(new.wait(30))
    new.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
