"""Fixtures of the process handle's tests: real processes, each of them gone when its test is over."""

import contextlib
import ctypes
import errno
import fcntl
import os
import pickle
import platform
import signal
import struct
import traceback

import pytest

from swarm_pidfd import Pidfd


@pytest.fixture
def fork():
    """Return a function that forks a child, which runs ``body`` and then exits with 0, and returns its pid.

    Whatever is left of these children is killed and reaped after the test.
    """
    pids = []

    def fork(body):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                body()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            # A child that is not reaped keeps its pid: nobody else can be meant by it.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def sleeper(fork):
    """Return the handle of a child that does nothing until a signal ends it."""
    with Pidfd(fork(signal.pause)) as process:
        yield process


@pytest.fixture
def in_child(fork):
    """Return a function that runs ``body`` in a child and returns its result, or fails with the child's traceback.

    For what would change this process for good: limits, user ids, system call filters.
    """

    def in_child(body):
        read_fd, write_fd = os.pipe()

        def report():
            try:
                answer = (True, body())
            except BaseException:
                answer = (False, traceback.format_exc())
            with open(write_fd, "wb") as file:
                pickle.dump(answer, file)

        pid = fork(report)
        os.close(write_fd)
        with open(read_fd, "rb") as file:
            answer = file.read()
        os.waitpid(pid, 0)
        done, result = pickle.loads(answer) if answer else (False, "the child ended without an answer")
        if not done:
            pytest.fail(f"in the child: {result}")
        return result

    return in_child


class Stranger:
    """A process that is not our child, and its parent, which does what it is told to."""

    def __init__(self, pid, commands, answers):
        self.pid = pid
        self._commands = commands
        self._answers = answers

    def end(self):
        """Have it killed, and leave it a zombie."""
        self._order(b"k")

    def reap(self):
        """Have it reaped by its parent."""
        self._order(b"r")

    def _order(self, order):
        os.write(self._commands, order)
        assert os.read(self._answers, 1) == order


@pytest.fixture
def stranger(fork):
    """Return a `Stranger` that ends by SIGUSR1, a signal that nothing else here uses."""
    commands_read, commands = os.pipe()
    answers, answers_write = os.pipe()

    def parent():
        os.close(commands)
        os.close(answers)
        pid = os.fork()
        if pid == 0:
            os.close(commands_read)
            os.close(answers_write)
            signal.pause()
        os.write(answers_write, struct.pack("=i", pid))
        while order := os.read(commands_read, 1):
            if order == b"k":
                os.kill(pid, signal.SIGUSR1)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            else:
                os.waitpid(pid, 0)
                pid = 0
            os.write(answers_write, order)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    fork(parent)
    os.close(commands_read)
    os.close(answers_write)
    yield Stranger(struct.unpack("=i", os.read(answers, 4))[0], commands, answers)
    os.close(commands)
    assert os.read(answers, 1) == b""  # its parent has ended, and it with it
    os.close(answers)


@pytest.fixture
def linux_5_4(monkeypatch):
    """Switch off everything that came after the oldest kernel supported: information, groups, descriptors, flags."""
    real_send, real_open = signal.pidfd_send_signal, os.pidfd_open

    def send(fd, number, siginfo=None, flags=0):
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_send(fd, number, siginfo, flags)

    def open_without_flags(pid, flags=0):
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_open(pid)

    def ioctl(*_):
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(signal, "pidfd_send_signal", send)
    monkeypatch.setattr(os, "pidfd_open", open_without_flags)
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr("swarm_pidfd._syscalls._SYS_PIDFD_GETFD", 100_000)


@pytest.fixture(params=["this kernel", "Linux 5.4"])
def each_kernel(request):
    """Run the test twice: on what this kernel has, and with everything newer than 5.4 switched off."""
    if request.param == "Linux 5.4":
        request.getfixturevalue("linux_5_4")
    return request.param


# seccomp(2): classic BPF over struct seccomp_data, whose first word is the number of the call.
_LOAD_NUMBER = (0x20, 0, 0, 0)
_ALLOW = (0x06, 0, 0, 0x7FFF0000)
_NUMBERS = {
    "x86_64": {"ioctl": 16, "waitid": 247},
    "aarch64": {"ioctl": 29, "waitid": 95},
}
_NUMBERS_EVERYWHERE = {"pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438}


@pytest.fixture
def forbid_calls():
    """Return a function that makes system calls fail in this process for good, by a seccomp filter. For children."""
    if platform.machine() not in _NUMBERS:
        pytest.skip(f"the numbers of the system calls of {platform.machine()} are not in this test")
    numbers = _NUMBERS[platform.machine()] | _NUMBERS_EVERYWHERE

    def forbid_calls(names, error):
        program = [_LOAD_NUMBER]
        for name in names:
            program += [(0x15, 0, 1, numbers[name]), (0x06, 0, 0, 0x00050000 | error)]
        program.append(_ALLOW)
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        filter_program = struct.pack("@HP", len(program), ctypes.addressof(buffer))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
        assert libc.prctl(22, 2, filter_program, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP

    return forbid_calls
