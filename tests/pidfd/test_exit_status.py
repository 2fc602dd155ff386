"""What an exit status says, and how it is made from what the kernel gives."""

import dataclasses
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_pidfd import ExitStatus


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(code=0), "exited with code 0"),
        (ExitStatus(code=137), "exited with code 137"),
        (ExitStatus(signal=signal.SIGKILL), "killed by SIGKILL"),
        (ExitStatus(signal=9), "killed by SIGKILL"),
        (ExitStatus(signal=signal.SIGSEGV, core_dumped=True), "killed by SIGSEGV (core dumped)"),
        (ExitStatus(signal=42), "killed by signal 42"),
        (ExitStatus(), "ended, exit status unknown"),
    ],
)
def test_it_reads_well_in_a_log(status, text):
    assert str(status) == text


def test_it_is_frozen_and_comparable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExitStatus(code=0).code = 1
    assert ExitStatus(signal=9) == ExitStatus(signal=signal.SIGKILL)
    assert len({ExitStatus(code=1), ExitStatus(code=1), ExitStatus(code=2)}) == 2


def test_known_and_success():
    assert ExitStatus(code=0).success
    assert ExitStatus(code=0).known
    assert ExitStatus(signal=9).known
    for status in (ExitStatus(code=1), ExitStatus(signal=9), ExitStatus()):
        assert not status.success
    assert not ExitStatus().known


@given(st.integers(0, 255))
def test_every_exit_code_survives(code):
    assert ExitStatus.from_wait_status(code << 8) == ExitStatus(code=code)


@given(st.integers(1, 64), st.booleans())
def test_every_signal_survives(number, core):
    status = ExitStatus.from_wait_status(number | core << 7)
    assert status == ExitStatus(signal=number, core_dumped=core)
    assert os.waitstatus_to_exitcode(number | core << 7) == -number
