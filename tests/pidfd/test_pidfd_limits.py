"""Bad arguments, forbidden calls, missing capabilities, exhausted descriptors: each a clear answer, nothing leaked."""

import copy
import dataclasses
import errno
import faulthandler
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading

import pytest

from swarm_pidfd import ExitStatus, Pidfd, PidfdUnsupportedError, capabilities, supported

ALL = frozenset(field.name for field in dataclasses.fields(capabilities()))


def working(found):
    return {name for name, works in dataclasses.asdict(found).items() if works}


@pytest.mark.parametrize("pid", [0, -1, -(2**40)])
def test_a_pid_that_is_not_positive_is_refused(pid):
    with pytest.raises(ValueError, match="positive"):
        Pidfd(pid)


@pytest.mark.parametrize("pid", [True, 1.0, "1", None, b"1"])
def test_a_pid_that_is_no_int_is_refused(pid):
    with pytest.raises(TypeError, match="a pid is an int"):
        Pidfd(pid)


@pytest.mark.parametrize("pid", [2**31 - 1, 2**31, 2**70])
def test_a_pid_that_nobody_can_have_is_no_process(pid):
    with pytest.raises(ProcessLookupError, match=str(pid)):
        Pidfd(pid)


def test_a_reaped_child_is_no_process(fork):
    pid = fork(lambda: None)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError, match=str(pid)):
        Pidfd(pid)


def test_a_thread_is_no_process():
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        with pytest.raises(ProcessLookupError):
            Pidfd(thread.native_id)
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ESRCH, errno.ENOENT])
def test_a_process_that_is_just_dying_is_gone(monkeypatch, number):
    def dying(pid, flags=0):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", dying)
    with pytest.raises(ProcessLookupError):
        Pidfd(os.getpid())


@pytest.mark.parametrize(
    "sig", ["NONE", "sigterm", "SIGSIGTERM", "", "15", "SIG_DFL", 0, -1, 65, 1000, True, None, 15.0]
)
def test_what_is_no_signal_is_refused_and_costs_nothing(sleeper, sig):
    with pytest.raises(ValueError, match="signal"):
        sleeper.signal(sig)
    assert sleeper.alive()


def test_a_real_time_signal(sleeper):
    assert sleeper.signal(signal.SIGRTMIN + 3)
    status = sleeper.wait(30)
    assert status == ExitStatus(signal=signal.SIGRTMIN + 3)
    assert str(status) == f"killed by signal {signal.SIGRTMIN + 3}"


@pytest.mark.parametrize("timeout", ["1", True, float("nan"), [1]])
def test_a_timeout_that_is_no_number_is_refused(sleeper, timeout):
    with pytest.raises(ValueError, match="seconds"):
        sleeper.wait(timeout)


def test_a_timeout_in_the_past_does_not_wait(sleeper):
    assert sleeper.wait(-5) is None


@pytest.mark.parametrize("timeout", [10**10, float("inf")])
def test_a_timeout_beyond_what_poll_takes(sleeper, timeout):
    threading.Timer(0.02, sleeper.signal, ["TERM"]).start()
    assert sleeper.wait(timeout) == ExitStatus(signal=signal.SIGTERM)


def test_a_foreign_users_process_is_a_permission_error(in_child):
    def body():
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        with Pidfd(1) as process:
            with pytest.raises(PermissionError):
                process.signal("TERM")
            with pytest.raises(PermissionError):
                process.getfd(0)
            return process.alive(), process.wait(0)

    assert in_child(body) == (True, None)


def test_a_core_dump_is_told_as_the_kernel_tells_it(fork, tmp_path):
    def crash():
        faulthandler.disable()
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        os.abort()

    pid = fork(crash)
    with Pidfd(pid) as process:
        seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert process.wait(30) == ExitStatus(signal=signal.SIGABRT, core_dumped=seen.si_code == os.CLD_DUMPED)


def test_a_descriptor_of_another_process(fork):
    read_fd, write_fd = os.pipe()
    with Pidfd(fork(signal.pause)) as process:
        os.close(write_fd)
        if not capabilities().getfd:
            pytest.skip("pidfd_getfd() needs Linux 5.6")
        duplicate = process.getfd(write_fd)
        try:
            assert not os.get_inheritable(duplicate)
            os.write(duplicate, b"through another process's descriptor")
            assert os.read(read_fd, 100) == b"through another process's descriptor"
        finally:
            os.close(duplicate)
            os.close(read_fd)
        with pytest.raises(OSError, match="no file descriptor 12345") as caught:
            process.getfd(12345)
        assert caught.value.errno == errno.EBADF
        for bad in (-1, True, "0", None, 2**31):
            with pytest.raises(ValueError, match="file descriptor"):
                process.getfd(bad)
        process.signal("KILL")
        process.wait(30)
        with pytest.raises(ProcessLookupError):
            process.getfd(0)


class TestGroups:
    """A signal to the process group that a process leads."""

    pytestmark = pytest.mark.skipif(
        not capabilities().process_group, reason="PIDFD_SIGNAL_PROCESS_GROUP needs Linux 6.9: this kernel refuses it"
    )

    def test_every_member_gets_it_also_when_the_leader_has_gone(self, fork):
        gone, member_holds = os.pipe()
        ready, say_ready = os.pipe()

        def lead():
            os.setpgid(0, 0)
            os.close(gone)
            if os.fork() == 0:
                os.write(say_ready, b"y")
                signal.pause()
            os.close(member_holds)

        with Pidfd(fork(lead)) as process:
            os.close(member_holds)
            os.close(say_ready)
            assert os.read(ready, 1) == b"y"
            assert process.wait(30) == ExitStatus(code=0)
            assert process.signal("KILL") is False  # the process itself
            assert process.signal("KILL", group=True) is True
            assert os.read(gone, 1) == b""  # the member has ended with its end of the pipe
        os.close(gone)
        os.close(ready)

    def test_a_process_that_leads_no_group_has_no_members(self, sleeper):
        assert sleeper.signal("TERM", group=True) is False
        assert sleeper.alive()


class TestWithoutNewerKernels:
    """With everything newer than Linux 5.4 switched off, what is left works and the rest says what it needs."""

    pytestmark = pytest.mark.usefixtures("linux_5_4")

    def test_it_is_supported(self):
        assert supported()
        assert working(capabilities()) - {"unique_inode"} == {"open", "signal", "wait"}

    def test_a_group_says_what_it_needs(self, sleeper):
        with pytest.raises(PidfdUnsupportedError, match=r"6\.9"):
            sleeper.signal("TERM", group=True)
        assert sleeper.alive()

    def test_a_descriptor_says_what_it_needs(self, sleeper):
        with pytest.raises(PidfdUnsupportedError, match=r"5\.6"):
            sleeper.getfd(0)

    def test_a_child_is_served_in_full(self, sleeper):
        assert sleeper.signal("TERM")
        assert sleeper.wait(30) == ExitStatus(signal=signal.SIGTERM)


def test_a_kernel_that_has_information_but_keeps_no_exit_status(fork, monkeypatch):
    # Linux 6.13 and 6.14: the call succeeds, and only the mask says that the exit code is not there.
    monkeypatch.setattr("swarm_pidfd._syscalls.pidfd_info", lambda fd, mask=0: (0b111, *[0] * 13))
    monkeypatch.setattr("swarm_pidfd._pidfd._REAPING_GRACE_S", 0.05)
    pid = fork(lambda: os._exit(3))
    with Pidfd(pid) as process:
        os.waitpid(pid, 0)
        assert process.wait() == ExitStatus(None, None)
    assert not capabilities().exit_info


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("name", ["pidfd_open", "pidfd_send_signal", "waitid"])
def test_a_filter_that_forbids_a_call_we_need_means_not_supported(in_child, forbid_calls, name, number):
    def body():
        forbid_calls([name], number)
        return supported(), working(capabilities())

    is_supported, found = in_child(body)
    assert not is_supported
    if name == "pidfd_open":
        assert found == set()
    else:
        # A signal to a group is another form of the same call.
        assert not found & {"pidfd_send_signal": {"signal", "process_group"}, "waitid": {"wait"}}[name]
        assert "open" in found


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_filter_that_forbids_newer_calls_leaves_the_rest(in_child, forbid_calls, number):
    def body():
        forbid_calls(["ioctl", "pidfd_getfd"], number)
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        with Pidfd(pid) as process:
            os.waitpid(pid, 0)
            return supported(), working(capabilities()), process.wait(30)

    is_supported, found, status = in_child(body)
    assert is_supported
    assert not found & {"getfd", "info", "exit_info"}
    assert {"open", "signal", "wait"} <= found
    assert status == ExitStatus(None, None)


def test_a_handle_under_a_filter_says_what_is_missing(in_child, forbid_calls):
    def body():
        forbid_calls(["pidfd_open"], errno.EPERM)
        with pytest.raises(PidfdUnsupportedError, match=r"5\.3.*seccomp"):
            Pidfd(os.getpid())
        return isinstance(PidfdUnsupportedError(), OSError)

    assert in_child(body)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_wait_under_a_filter_says_what_is_missing(in_child, forbid_calls, number):
    def body():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        forbid_calls(["waitid"], number)
        with Pidfd(pid) as process, pytest.raises(PidfdUnsupportedError, match=r"waitid.*5\.4"):
            process.wait(30)
        return True

    assert in_child(body)


def test_a_signal_under_a_filter_says_what_is_missing(in_child, forbid_calls):
    def body():
        forbid_calls(["pidfd_send_signal"], errno.ENOSYS)
        with Pidfd(os.getpid()) as process, pytest.raises(PidfdUnsupportedError, match=r"pidfd_send_signal.*5\.1"):
            process.signal("CONT")
        return True

    assert in_child(body)


@pytest.fixture
def old_python(monkeypatch):
    """A Python that was built against old kernel headers, such as conda's: the calls are there, their names are not."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.delattr(os, "P_PIDFD", raising=False)
    monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)


@pytest.mark.usefixtures("old_python")
def test_a_python_without_pidfd_calls_the_kernel_itself(fork, sleeper):
    assert supported()
    assert {"open", "signal", "wait"} <= working(capabilities())
    assert sleeper.signal("TERM")
    assert sleeper.wait(30) == ExitStatus(signal=signal.SIGTERM)
    with Pidfd(fork(lambda: os._exit(3))) as process:
        assert not os.get_inheritable(process.fileno())
        assert process.wait(30) == ExitStatus(code=3)
    for nobody in (2**31 - 1, 2**31, 2**70):
        with pytest.raises(ProcessLookupError):
            Pidfd(nobody)


@pytest.mark.usefixtures("old_python")
def test_neither_python_nor_libc_can_call(monkeypatch):
    import ctypes

    def no_libc(*arguments, **keywords):
        raise OSError("a static build")

    monkeypatch.setattr(ctypes, "CDLL", no_libc)
    assert not supported()
    assert working(capabilities()) == set()
    with pytest.raises(PidfdUnsupportedError):
        Pidfd(1)


def test_what_is_found_is_found_again_and_leaves_nothing_behind():
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    assert capabilities() == capabilities()
    assert working(capabilities()) <= ALL
    assert supported()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_capabilities_match_what_the_handle_can_do(fork):
    pid = fork(lambda: os._exit(3))
    with Pidfd(pid) as process:
        os.waitpid(pid, 0)
        assert process.wait(0).known is capabilities().exit_info


def test_no_descriptor_left_is_an_os_error(in_child):
    def body():
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, 4096))
        held = []

        def open_without_end():
            while True:
                held.append(Pidfd(1))

        with pytest.raises(OSError, match="open files") as caught:
            open_without_end()
        for handle in held:
            handle.close()
        with Pidfd(1) as process:
            return caught.value.errno, len(held) > 0, process.alive()

    assert in_child(body) == (errno.EMFILE, True, True)


def test_handles_are_not_inherited_and_leave_no_descriptor(sleeper):
    assert not os.get_inheritable(sleeper.fileno())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        with Pidfd(sleeper.pid) as process:
            process.wait(0)
            process.wait(0.0001)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_handle_is_not_copied(sleeper, copied):
    with pytest.raises(TypeError, match="copied"):
        copied(sleeper)
    assert sleeper.alive()


def test_a_handle_that_was_forgotten_is_closed_with_a_warning(sleeper):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.warns(ResourceWarning, match="never closed"):
        Pidfd(sleeper.pid)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_import_needs_the_standard_library_only_and_little_of_it():
    program = "import sys, swarm_pidfd; print([m for m in ('asyncio', 'ctypes', 'msgspec') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
