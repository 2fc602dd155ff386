"""Memory of real processes, compared with psutil and with what the test itself allocated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from swarm_liveness import ProcessMemory
from swarm_liveness._judging import memory as memory_module
from swarm_liveness._judging.memory import MB, parse_rollup

HOLDER = """
import sys
block = bytearray(64 * 2**20)
for page in range(0, len(block), 4096):
    block[page] = 1
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(source: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def test_all_three_figures_agree_with_psutil_and_with_what_was_allocated() -> None:
    with process(HOLDER) as child, ProcessMemory(child.pid) as memory:
        full = psutil.Process(child.pid).memory_full_info()
        exact = memory.exact()
        assert exact.uss_mb == pytest.approx(full.uss / MB, abs=0.1)
        assert exact.pss_mb == pytest.approx(full.pss / MB, abs=0.5)  # siblings map and unmap libpython meanwhile
        assert exact.uss_mb is not None
        assert 64 <= exact.uss_mb < 64 + 40
        # statm is a sum of per-CPU counters: off by a batch per CPU.
        assert memory.rss_mb() == pytest.approx(exact.rss_mb, abs=2.0)


def test_the_fallback_reads_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    with process(HOLDER) as child, ProcessMemory(child.pid) as memory:
        exact = memory.exact()
        opened = memory._open

        def no_rollup(name: str) -> int:
            if name == "smaps_rollup":
                raise FileNotFoundError(name)
            return opened(name)

        monkeypatch.setattr(memory, "_open", no_rollup)
        fallback = memory.exact()
        assert fallback.uss_mb == pytest.approx(exact.uss_mb, abs=0.1)
        assert fallback.pss_mb == pytest.approx(exact.pss_mb, abs=0.5)


def test_shared_pages_count_in_rss_but_not_in_uss() -> None:
    """A child right after a fork: the parent's 64 MB are in its RSS, half of them in its PSS, none in its USS."""
    source = HOLDER.replace('print("ready"', 'import os\nif os.fork() == 0: print(os.getpid()), print("ready"').replace(
        "sys.stdin.read()", "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = 0
        try:
            child = int(parent.stdout.readline())
            assert parent.stdout.readline() == "ready\n"
            with ProcessMemory(child) as memory:
                exact = memory.exact()
            assert exact.rss_mb > 64
            assert exact.uss_mb is not None
            assert exact.pss_mb is not None
            assert exact.uss_mb < 30
            assert 32 <= exact.pss_mb < 64
        finally:
            for pid in (child, parent.pid):
                if pid:
                    os.kill(pid, signal.SIGKILL)


def test_a_reader_that_crossed_a_fork_reads_the_child() -> None:
    """The kept descriptor of /proc/self/statm would be the parent's: the RSS must show the child's own block."""
    memory = ProcessMemory()
    before = memory.rss_mb()
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        # A fork does not copy the page tables of mapped files, so the child starts with less RSS than its parent has.
        first = memory.rss_mb()
        block = bytearray(b"x") * (48 * MB)
        os.write(into, f"{memory.rss_mb() - first} {len(block)}".encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as pipe:
        grown_mb = float(pipe.read().split()[0])
    os.waitpid(pid, 0)
    assert grown_mb > 40
    assert memory.rss_mb() < before + 30
    memory.close()


def test_a_process_that_is_not_there() -> None:
    with process(HOLDER) as child:
        pid = child.pid
    with pytest.raises(ProcessLookupError, match=str(pid)):
        ProcessMemory(pid).rss_mb()
    with pytest.raises(ProcessLookupError, match=str(pid)):
        ProcessMemory(pid).exact()


def test_a_process_that_ends_under_the_reader() -> None:
    with process(HOLDER) as child:
        memory = ProcessMemory(child.pid)
        memory.rss_mb()
    with pytest.raises(ProcessLookupError):
        memory.rss_mb()
    memory.close()


def test_the_descriptor_is_kept_and_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    memory = ProcessMemory()
    for _ in range(100):
        memory.rss_mb()
        memory.exact()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    memory.close()
    memory.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert memory.rss_mb() > 1  # opens again
    memory.close()


def test_a_rollup_with_huge_pages_counts_them_as_private() -> None:
    text = (
        b"55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:   20480 kB\nPss:   10240 kB\nPss_Dirty:  1 kB\n"
        b"Private_Clean:  1024 kB\nPrivate_Dirty:   2048 kB\nShared_Hugetlb: 99 kB\nPrivate_Hugetlb:  4096 kB\n"
    )
    sample = parse_rollup(text)
    assert (sample.rss_mb, sample.uss_mb, sample.pss_mb) == (20.0, 7.0, 10.0)


def test_mb_are_two_to_the_twentieth() -> None:
    assert memory_module.MB == 1048576
