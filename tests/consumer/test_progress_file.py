"""The file that kept progress may be in: what is refused, what is wiped, and who has it."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import stat
import struct
from pathlib import Path

import pytest

from swarm_consumer._scheduling.suspects import suspects_after
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.progress import Epitaph, Member, ProgressMemory, Suspects, Verdict, _file

SCOPE, KEY = "cluster/group", ("flights", 0)
TMPFS = Path("/dev/shm")


@pytest.fixture
def path(request):
    """A path on a tmpfs."""
    if _file._filesystem(TMPFS.stat().st_dev) != "tmpfs":
        pytest.skip("this machine has no tmpfs at /dev/shm")
    folder = TMPFS / f"swarm-test-{os.getpid()}-{request.node.name[:40].replace('/', '-')}"
    folder.mkdir(mode=0o700)
    yield folder / "progress"
    for left in folder.iterdir():
        left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink()
    folder.rmdir()


@pytest.fixture
def at_once(monkeypatch):
    """Do not wait for locks."""
    monkeypatch.setattr(_file, "_WAIT_S", 0.0)


def make(path, nodes=2, partitions=4) -> ProgressMemory:
    """Return a memory in a file."""
    return ProgressMemory(nodes, path, partitions)


def refused(path, words: str) -> str:
    """Check that a path is refused with a sentence that has these words."""
    with pytest.raises(ConfigurationError, match=words) as refusal:
        make(path)
    assert str(path) in str(refusal.value)
    assert "; " in str(refusal.value)  # what to do
    return str(refusal.value)


def note(memory, position=100) -> None:
    """Write a note."""
    memory.of_life(0, 1).claim(SCOPE, KEY).move(position, 3)


def recalled(memory, node_id=1):
    """Return the note."""
    return memory.of_life(node_id, 1).recall(SCOPE, [KEY]).get(KEY)


def test_notes_outlive_the_supervisor_and_its_lives_are_unknown(path):
    memory = make(path)
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.move(100, 3)
    place.suspect(Suspects(100, 100, culprit=100, deaths_alone=1, life=(0, 1)))
    token = place.token
    memory.close()
    memory = make(str(path))
    memory.epitaph(0, 1, Epitaph(Verdict.COUNTS, "the life of the same number, under the next supervisor"))
    found = recalled(memory)
    assert (found.position, found.token, found.complete) == (100, token, True)
    assert (found.epitaph.verdict, found.epitaph.reason) == (Verdict.UNKNOWN, "its supervisor ended before it")
    assert found.story == Epitaph()
    assert found.suspects == Suspects(100, 100, culprit=100, deaths_alone=1)  # its life has no name any more
    memory.close()


@pytest.mark.parametrize("verdict", Verdict)
def test_a_death_under_an_earlier_supervisor_is_told_but_not_counted(path, verdict):
    memory = make(path)
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.suspect(Suspects(1, 1, life=(0, 1)))
    place.begin(1, 1, 1, alone=True)
    memory.epitaph(0, 1, Epitaph(verdict, "killed by SIGSEGV"))
    memory.close()
    memory = make(path)
    found = recalled(memory)
    assert found.epitaph == Epitaph(min(verdict, Verdict.SUSPECT), "killed by SIGSEGV")
    assert found.story == Epitaph(verdict, "killed by SIGSEGV")
    suspects = suspects_after(found, 1, survives=True, hangs_count=True, handled=7)
    assert suspects == Suspects(1, 1), "its code may have been another"
    memory.close()


def test_what_was_given_up_under_another_supervisor_suspects_nothing(path):
    memory = make(path)
    place = memory.of_life(0, 1).claim(SCOPE, KEY)
    place.suspect(Suspects(1, 1))
    place.release()
    assert recalled(memory).suspects == Suspects(1, 1)
    memory.close()
    memory = make(path)
    found = recalled(memory)
    assert (found.released, found.suspects) == (True, None)
    memory.close()


def test_members_of_an_earlier_supervisor_are_dead_because_the_lock_was_free(path):
    memory = make(path)
    memory.of_life(0, 1).joined(Member("group", "member", "host_0"))
    memory.close()
    memory = make(path)
    assert memory.of_life(0, 1).departed() == [Member("group", "member", "host_0")]
    memory.close()


def test_a_start_puts_right_what_was_written_over_pages_that_no_node_will_take(path):
    """A node id that is used no more would else leave every take-over in doubt for ever."""
    kept = ProgressMemory(3, path)
    kept.of_life(2, 1).claim(SCOPE, KEY).move(5, 1)
    for at in (kept._layout.index(5), kept._layout.header(5), 128):
        kept._map[at : at + 16] = b"\x5a" * 16
    kept.close()
    kept = ProgressMemory(3, path)
    life = kept.of_life(0, 1)
    life.claim(SCOPE, KEY).move(7, 1)
    found = life.recall(SCOPE, [KEY])[KEY]
    assert (found.complete, found.position) == (True, 7)
    kept.close()


def test_the_file_is_the_users_alone(path):
    before = os.umask(0)
    try:
        memory = make(path)
    finally:
        os.umask(before)
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    memory.close()
    memory.close()
    assert path.exists()
    memory.epitaph(0, 1, Epitaph(Verdict.COUNTS, "after the end"))


def test_the_file_has_memory_for_what_is_in_use_before_anything_is_written_there(path):
    def allocated() -> int:
        return path.stat().st_blocks * 512

    memory = ProgressMemory(64, path, 1024)
    layout = memory._layout
    assert allocated() == layout.pages_at
    for node_id in range(64):
        for generation in range(9):
            memory.epitaph(node_id, generation, Epitaph(Verdict.COUNTS, "x" * 300, "y" * 3000))
    assert allocated() == layout.pages_at
    life = memory.of_life(0, 1)
    assert life.departed() == []
    assert allocated() == layout.pages_at + layout.entries_at
    before = allocated()
    for number in range(125):
        life.claim(SCOPE, ("flights", number))
        assert allocated() >= before + 320 * (number + 1)
    assert allocated() <= before + 128 * 320 + 4096
    life.recall(SCOPE, [("flights", 500)])
    memory.of_life(63, 1).handled(SCOPE)
    assert allocated() <= before + 128 * 320 + 4096 + layout.entries_at
    memory.close()


def test_a_node_that_gets_no_memory_has_no_notes_and_says_so(path, monkeypatch):
    memory = ProgressMemory(2, path, 200)
    life = memory.of_life(0, 1)
    life.claim(SCOPE, KEY).move(100, 3)
    full = OSError(28, "No space left on device")

    def allocate(descriptor, offset, size):
        raise full

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    assert recalled(memory, 9).complete
    for number in range(1, 64):
        assert life.claim(SCOPE, ("flights", number)) is not None
    assert life.claim(SCOPE, ("flights", 64)) is None  # its entry has no memory
    assert not recalled(memory, 9).complete
    assert life.claim(SCOPE, KEY) is not None  # its entry has
    assert recalled(memory, 9).complete
    assert memory.of_life(1, 1).claim(SCOPE, KEY) is None  # its page has none
    assert not recalled(memory, 9).complete
    memory.close()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_another_filesystem_is_refused_and_nothing_is_left_on_it(tmp_path):
    if _file._filesystem(tmp_path.stat().st_dev) == "tmpfs":
        pytest.skip("the folder for tests is on a tmpfs here")
    refused(tmp_path / "progress", "not on a tmpfs")
    assert not (tmp_path / "progress").exists()


def test_a_folder_that_is_not_there_is_refused(path):
    assert "make its folder first" in refused(path.parent / "missing" / "progress", "No such file")


def test_a_link_is_refused_and_not_followed(path):
    target = path.parent / "target"
    path.symlink_to(target)
    assert "it is a link" in refused(path, "symbolic links")
    assert not target.exists()


def test_a_name_that_no_file_can_have_is_refused(path):
    refused(f"{path}\0", "null")
    refused(f"{path}{'x' * 300}", "too long")


def test_a_hard_link_is_refused(path):
    make(path).close()
    os.link(path, path.parent / "other")
    refused(path, "2 names")


def test_a_folder_is_refused(path):
    path.mkdir()
    refused(path, "[Dd]irectory")


def test_a_pipe_is_refused_without_waiting_for_its_other_end(path):
    os.mkfifo(path, 0o600)
    refused(path, "no regular file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_others_have_access_to_is_refused(path, mode):
    make(path).close()
    path.chmod(mode)
    assert f"chmod 600 {path}" in refused(path, "other users have access")


def test_a_file_of_another_user_is_refused(path, monkeypatch):
    make(path).close()
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    refused(path, "belongs to the user")


def test_a_file_of_something_else_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"precious" * 100)
    path.chmod(0o600)
    refused(path, "a file of something else")
    assert path.read_bytes() == b"precious" * 100


def test_a_file_that_another_supervisor_has_is_refused(path, at_once):
    memory = make(path)
    note(memory)
    refused(path, "another supervisor or one of its nodes")
    assert recalled(memory).position == 100
    memory.close()


def test_a_tmpfs_that_is_full_is_refused_and_no_memory_is_held(path, monkeypatch):
    def allocate(descriptor, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    refused(path, "No space left on device")
    assert path.stat().st_size == 0
    monkeypatch.undo()
    make(path).close()


# -- wiped -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"boot": bytes(range(16))}, id="another boot"),
        pytest.param({"version": _file.VERSION + 1}, id="another version"),
        pytest.param({"nodes": 3}, id="other sizes"),
        pytest.param({"checksum": 1}, id="a spoilt head"),
    ],
)
def test_a_file_of_this_kind_with_another_head_is_wiped(path, change):
    memory = make(path)
    note(memory)
    memory.close()
    raw = path.read_bytes()
    magic, version, nodes, partitions, boot = _file._HEAD.unpack_from(raw)
    body = _file._HEAD.pack(
        magic, change.get("version", version), change.get("nodes", nodes), partitions, change.get("boot", boot)
    )
    checksum = struct.pack("<I", (_file.crc32(body) + change.get("checksum", 0)) % 2**32)
    path.write_bytes(body + checksum + raw[len(body) + 4 :])
    memory = make(path)
    assert recalled(memory) is None
    note(memory)
    memory.close()
    memory = make(path)
    assert recalled(memory).position == 100
    memory.close()


def test_a_file_of_other_sizes_is_made_again(path):
    memory = make(path, nodes=2)
    note(memory)
    memory.close()
    memory = make(path, nodes=3)
    assert recalled(memory) is None
    assert memory.of_life(2, 1).claim(SCOPE, KEY) is not None
    memory.close()


@pytest.mark.parametrize("size", [0, 8, 30, 40, 4096])
def test_a_start_that_was_killed_while_it_made_the_file_is_no_hindrance(path, size):
    memory = make(path)
    memory.close()
    os.truncate(path, size)
    memory = make(path)
    note(memory)
    assert recalled(memory).position == 100
    memory.close()


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_the_lock_is_held_until_the_last_node_is_gone(path, at_once):
    memory = make(path)
    note(memory)
    ready, ready_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            memory.of_life(0, 3)
            os.write(ready_end, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    memory.close()  # as at the end of a supervisor
    refused(path, "another supervisor or one of its nodes")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    memory = make(path)
    assert recalled(memory).position == 100
    memory.close()
    os.close(ready)
    os.close(ready_end)


def test_a_start_waits_for_the_processes_of_the_last_supervisor(path):
    make(path).close()
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    context = multiprocessing.get_context("fork")
    begun = context.Event()

    def start():
        os.close(descriptor)
        begun.set()
        make(path).close()

    starting = context.Process(target=start)
    starting.start()
    assert begun.wait(30)
    os.close(descriptor)
    starting.join(30)
    assert starting.exitcode == 0
