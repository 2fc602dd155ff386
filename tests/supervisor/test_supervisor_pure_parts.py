"""The small pure parts: deadlines, timers, what the system is asked, event texts."""

import os
import select
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_supervisor import events as all_events
from swarm_supervisor._core.deadlines import NEVER, Deadlines
from swarm_supervisor._flags import Flag
from swarm_supervisor._loop import Loop
from swarm_supervisor._oom import Hint, OomWatch
from swarm_supervisor.cpus import available_cpus, cgroup_quota
from swarm_supervisor.events import StacksDumped, encode_event, every_event


class Thing:
    def __init__(self):
        self.deadline, self.scheduled = None, NEVER


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.floats(0.0, 100.0)), st.booleans()), max_size=80))
def test_deadlines_are_exact_however_they_move(moves):
    deadlines, things = Deadlines(), [Thing() for _ in range(5)]
    model = {}
    for index, deadline, pop in moves:
        if pop:
            now = deadline if deadline is not None else 1e9
            thing = deadlines.pop(now)
            due = {other: when for other, when in model.items() if when <= now}
            if due:
                assert model.pop(thing) == min(due.values())
                assert thing.deadline is None
            else:
                assert thing is None
        else:
            deadlines.set(things[index], deadline)
            if deadline is None:
                model.pop(things[index], None)
            else:
                model[things[index]] = deadline
        assert deadlines.next() == min(model.values(), default=None)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.floats(0.0, 100.0))), max_size=80),
    st.floats(0.0, 100.0),
)
def test_deadlines_are_exact_nearby_and_never_late_beyond(moves, near):
    deadlines, things = Deadlines(), [Thing() for _ in range(5)]
    for index, deadline in moves:
        deadlines.set(things[index], deadline)
        first = min((thing.deadline for thing in things if thing.deadline is not None), default=None)
        told = deadlines.next(near)
        if first is None or first > near:
            assert told is None or near < told
            assert first is None or (told is not None and told <= first)
        else:
            assert told == first


def test_a_thing_that_only_moves_on_costs_one_entry():
    deadlines, thing = Deadlines(), Thing()
    for now in range(100_000):
        deadlines.set(thing, now + 60.0)
        assert now < deadlines.next(now + 1.0) <= now + 60.0
    assert len(deadlines) == 1
    assert deadlines.next() == 99_999 + 60.0


def test_two_events_in_one_batch_and_a_descriptor_number_that_is_used_again():
    """The first callback closes the second descriptor and opens another of the same number: no stale event for it."""
    loop, called = Loop(), []
    first_read, first_write = os.pipe()
    second_read, second_write = os.pipe()
    os.write(first_write, b"x")
    os.write(second_write, b"x")
    fresh = []

    def replace(other):
        def callback(mask):
            called.append(other)
            assert loop.remove_reader(other)
            os.close(other)
            read, write = os.pipe()
            assert read == other
            fresh.extend((read, write))
            loop.add_reader(read, select.EPOLLIN, lambda mask: called.append("stale"))

        return callback

    loop.add_reader(first_read, select.EPOLLIN, replace(second_read))
    loop.add_reader(second_read, select.EPOLLIN, replace(first_read))
    batch = loop.wait(time.monotonic() + 5.0)
    assert len(batch) == 2
    loop.dispatch(batch)
    assert len(called) == 1
    assert "stale" not in called
    loop.close()
    for fd in {first_read, first_write, second_read, second_write, *fresh}:
        os.close(fd)


def test_timers_run_in_order_and_a_cancelled_one_never():
    loop, called = Loop(), []
    loop.call_at(3.0, lambda: called.append(3))
    loop.call_at(1.0, lambda: called.append(1))
    loop.call_at(2.0, lambda: called.append(2)).cancel()
    assert loop.next_timer() == 1.0
    loop.run_timers(2.5)
    assert called == [1]
    loop.run_timers(3.0)
    assert called == [1, 3]
    assert loop.next_timer() is None
    loop.close()


def test_a_timer_that_is_set_by_a_timer_waits_for_the_next_turn():
    """ "Call soon" again and again must not keep the loop from its descriptors: TERM would never be seen."""
    loop, called = Loop(), []

    def again():
        called.append(1)
        assert len(called) <= 3, "the loop never turns"
        loop.call_at(0.0, again)

    loop.call_at(0.0, again)
    for turn in (1, 2, 3):
        loop.run_timers(5.0)
        assert len(called) == turn
    loop.close()


def test_a_timer_can_cancel_one_that_is_due_in_the_same_turn():
    loop, called = Loop(), []
    loop.call_at(1.0, lambda: other.cancel())
    other = loop.call_at(2.0, lambda: called.append("cancelled"))
    loop.run_timers(3.0)
    assert called == []
    loop.close()


@pytest.mark.parametrize("timeout", [30 * 86400.0, float("inf"), 1e300])
def test_a_flag_can_be_waited_for_longer_than_the_kernel_waits(timeout):
    flag = Flag()
    timer = threading.Timer(0.05, flag.set)
    timer.start()
    assert flag.wait(timeout)
    timer.join()


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_wait_of_no_time_is_none(timeout):
    assert not Flag().wait(timeout)


def test_a_flag_is_seen_in_every_process_that_was_forked_before_it_was_set():
    flag = Flag()
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(tells, b"x")
            code = 0 if flag.wait(30.0) and flag.is_set() and not flag.set() else 1
        finally:
            os._exit(code)
    os.read(told, 1)
    assert flag.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not flag.set()
    os.close(told)
    os.close(tells)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"root/a/b/cpu.max": "max 100000"}, None),
        ({"root/a/b/cpu.max": "150000 100000"}, 1.5),
        ({"root/a/b/cpu.max": "max 100000", "root/a/cpu.max": "300000 100000"}, 3.0),
        ({"root/a/b/cpu.max": "400000 100000", "root/a/cpu.max": "50000 100000"}, 0.5),
        ({"root/cpu.max": "200000 100000"}, 2.0),
        ({"root/a/b/cpu.max": "garbage"}, None),
        ({"root/a/b/cpu.max": "1000 0"}, None),
        ({"root/cpu/c/cpu.cfs_quota_us": "250000", "root/cpu/c/cpu.cfs_period_us": "100000"}, 2.5),
        ({"root/cpu/c/cpu.cfs_quota_us": "-1", "root/cpu/c/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_tightest_cgroup_quota_counts(tmp_path, files, quota):
    write(tmp_path / "proc/cgroup", "3:cpu,cpuacct:/c\n0::/a/b\n")
    for name, text in files.items():
        write(tmp_path / name, text)
    assert cgroup_quota(tmp_path / "proc", tmp_path / "root") == quota


def test_available_cpus_follow_the_affinity(monkeypatch):
    monkeypatch.setattr("swarm_supervisor.cpus.cgroup_quota", lambda: None)
    before = os.sched_getaffinity(0)
    assert available_cpus() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("quota", "nodes"), [(0.2, 1), (1.5, 2), (3.0, 3), (64.0, 8)])
def test_available_cpus_follow_the_quota(monkeypatch, quota, nodes):
    monkeypatch.setattr("swarm_supervisor.cpus.cgroup_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert available_cpus() == nodes


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/a/b", "a/b/memory.events"), ("0::/elsewhere", "memory.events"),
     ("4:memory:/m", "memory/m/memory.oom_control")],
)  # fmt: skip
def test_the_oom_killer_is_recognised_by_its_count(tmp_path, line, file):
    write(tmp_path / "proc/cgroup", line + "\n")
    write(tmp_path / "root" / file, "low 0\noom 1\noom_kill 2\n")
    watch = OomWatch(tmp_path / "proc", tmp_path / "root")
    now = time.monotonic()
    assert watch.hint(now) == Hint()
    write(tmp_path / "root" / file, "low 0\noom 2\noom_kill 3\n")
    hint = watch.hint(now + 1)
    assert hint.text.startswith("probably the OOM killer: oom_kill in ")
    assert hint.text.endswith("from 2 to 3")
    assert hint.sure
    assert watch.hint(now + 1) == Hint()


def test_without_a_memory_cgroup_nothing_is_claimed(tmp_path):
    watch = OomWatch(tmp_path, tmp_path)
    watch.look(time.monotonic() + 60)
    assert watch.hint(time.monotonic() + 60) == Hint()


class Cgroup:
    def __init__(self, folder):
        self.file = folder / "root/memory.events"
        write(folder / "proc/cgroup", "0::/\n")
        self.count(0)
        self.watch = OomWatch(folder / "proc", folder / "root")
        self.began = time.monotonic()

    def count(self, number):
        write(self.file, f"oom {number}\noom_kill {number}\n")

    def look(self, after_s):
        self.watch.look(self.began + after_s)

    def hint(self, after_s):
        return self.watch.hint(self.began + after_s)


def test_an_oom_kill_of_another_process_is_not_that_of_a_node_that_is_killed_later(tmp_path):
    """A program that a node had started is killed for its memory; an hour later somebody kills the node."""
    cgroup = Cgroup(tmp_path)
    cgroup.look(100)
    cgroup.count(1)
    cgroup.look(101)
    assert cgroup.hint(3700) == Hint()


def test_a_large_process_takes_a_while_to_end_after_its_kill_and_others_report_meanwhile(tmp_path):
    cgroup = Cgroup(tmp_path)
    cgroup.look(100)
    cgroup.count(1)
    cgroup.look(101)
    cgroup.look(103)
    assert cgroup.hint(105).sure


def test_each_oom_kill_explains_one_end(tmp_path):
    cgroup = Cgroup(tmp_path)
    cgroup.look(100)
    cgroup.count(2)
    cgroup.look(101)
    assert [cgroup.hint(102).sure for _ in range(3)] == [True, True, False]


def test_without_reports_it_is_not_known_when_the_count_went_up_so_nothing_is_claimed(tmp_path):
    cgroup = Cgroup(tmp_path)
    cgroup.count(1)
    hint = cgroup.hint(3600)
    assert not hint.sure
    assert hint.text.startswith("perhaps the OOM killer: oom_kill in ")
    assert hint.text.endswith("went from 0 to 1, at some time in the last 3600 s")


def test_a_count_is_not_read_for_each_of_a_thousand_reports(tmp_path):
    cgroup = Cgroup(tmp_path)
    cgroup.look(100)
    cgroup.count(1)
    cgroup.look(100.5)
    assert cgroup.hint(100.6).text.endswith("went from 0 to 1")
    cgroup.file.unlink()  # a cgroup that cannot be read any more tells nothing, and raises nothing
    cgroup.look(200)
    assert cgroup.hint(200) == Hint()


def example(kind):
    """An event with a value for every field."""
    values = {"int": 1, "float": 1.5, "str": "text", "bool": True}
    fields = {}
    for name, hint in all_fields(kind):
        text = str(hint)
        found = next((value for word, value in values.items() if word in text), None)
        fields[name] = (1,) if "tuple" in text else found
    return kind(**fields)


def all_fields(kind):
    import typing

    hints = typing.get_type_hints(kind)
    return [(name, hints[name]) for name in kind.__struct_fields__]


@pytest.mark.parametrize("name", sorted(every_event()))
def test_every_event_has_a_text_and_goes_into_json(name):
    import msgspec

    event = example(every_event()[name])
    text = str(event)
    assert text
    assert name not in text  # a sentence, not a repr
    assert msgspec.json.decode(encode_event(event))["event"] == name
    with pytest.raises(AttributeError):
        event.at = 2.0
    assert type(event).__doc__ not in (None, all_events.Event.__doc__)


def test_a_long_dump_is_logged_in_parts():
    text = "\n".join(f"  File {number} line" for number in range(1000))
    event = StacksDumped(at=0.0, node_id=3, generation=1, pid=9, text=text)
    parts = event.parts(3000)
    assert len(parts) > 3
    assert all(len(part) < 3200 for part in parts)
    assert parts[0].startswith(f"stacks of node 3 (pid 9), part 1 of {len(parts)}:\n")
    assert "\n".join(part.split(":\n", 1)[1] for part in parts) == text


def test_cancelled_timers_do_not_pile_up():
    loop = Loop()
    for _ in range(10_000):
        loop.call_at(1e9, print).cancel()
    assert len(loop._timers) < 1000
    called = []
    loop.call_at(1.0, lambda: called.append(1))
    for _ in range(10_000):
        loop.call_at(1e9, print).cancel()
    loop.run_timers(2.0)
    assert called == [1]
    loop.close()
