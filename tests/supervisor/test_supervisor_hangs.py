"""Hung nodes: noticed in time, dumped, stopped, killed, several at once (issue's budgets, with real processes)."""

import os
import signal

import pytest

from swarm_supervisor._stack_text import stack_text

NOTICE_S = 0.1
SLACK_S = 0.15  # of a machine that others use too; the 100 ms are measured by benchmarks.supervisor_hang

HANGS = """
import ctypes, threading
kind = sys.argv[1].split(",")

def target(node):
    how = kind[node.id] if node.generation == 1 else "well"
    if how == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    node.healthy()
    if how == "sleep":
        while True:
            time.sleep(600)
    if how == "gil":
        gil_holder()
    return beat(node)

sys.exit(supervise(target, nodes=len(kind), node_report_timeout=1.0, boot_timeout=1.5, shutdown_timeout=0.8,
                   stack_dump_timeout=0.3).run())
"""


def check_silence(swarm, node_id, *, dumped):
    stopping = swarm.wait_for("NodeStopping", lambda event: event["node_id"] == node_id)
    last = max(
        event["at"]
        for event in swarm.all("NodeReported")
        if event["node_id"] == node_id and event["generation"] == 1 and event["status"] is not None
    )
    assert stopping["status"] == -1
    assert 1.0 <= stopping["at"] - last < 1.0 + NOTICE_S + SLACK_S
    exited = swarm.wait_for("NodeExited", lambda event: event["node_id"] == node_id)
    dumps = [event["text"] for event in swarm.all("StacksDumped") if event["node_id"] == node_id]
    assert bool(dumps) == dumped
    return stopping, exited


def test_a_stopped_process_is_continued_and_ends_by_itself(start):
    swarm = start(HANGS, "well")
    os.kill(swarm.running(1)[0]["pid"], signal.SIGSTOP)
    stopping, exited = check_silence(swarm, 0, dumped=False)
    assert exited["code"] == 0
    assert exited["at"] - stopping["at"] < 0.5  # no dump was waited for
    assert "stopped by a signal: continued" in swarm.stderr


@pytest.mark.parametrize("how", ["sleep", "gil"])
def test_a_hung_process_is_dumped_and_told_to_stop_then_killed(start, how):
    swarm = start(HANGS, how)
    swarm.running(1)
    stopping, exited = check_silence(swarm, 0, dumped=True)
    killed = swarm.all("NodeTerminating")
    assert len(killed) == 1
    # a dump ends the wait for it early
    assert 0.8 <= killed[0]["at"] - stopping["at"] < 0.3 + 0.8 + NOTICE_S + SLACK_S
    assert exited["signal"] == signal.SIGKILL
    assert len(swarm.all("StacksDumped")) == 2  # before TERM and before KILL


def test_a_process_that_says_that_it_hangs_and_ends_on_its_own_is_dumped(start):
    """Its drain is over long before the last dump; without one, no one would know where it hung."""
    swarm = start("""
def stuck_here():
    threading.Event().wait()

def target(node):
    threading.Thread(target=stuck_here, daemon=True).start()
    node.healthy()
    if node.generation > 1:
        return beat(node)
    node.unhealthy(2, "17 s into a batch")
    node.stopping.wait()
    signal.sigtimedwait([signal.SIGALRM], 1.0)   # its drain
    return 4

sys.exit(supervise(target).run())
""")
    exited = swarm.wait_for("NodeExited")
    told = swarm.events[: swarm.events.index(exited)]
    stacks = "".join(event["text"] for event in told if event["event"] == "StacksDumped")
    assert (exited["cause"], exited["code"]) == ("unhealthy", 4)
    assert "stuck_here" in stacks


def test_a_deadlock_after_the_fork_is_judged_by_the_boot_timeout(start):
    swarm = start(HANGS, "deadlock")
    stopping = swarm.wait_for("NodeStopping")
    forked = swarm.all("AfterFork")[0]
    assert 1.5 <= stopping["at"] - forked["at"] < 1.5 + NOTICE_S + SLACK_S
    exited = swarm.wait_for("NodeExited")
    assert exited["at"] - stopping["at"] < 0.3 + NOTICE_S + SLACK_S
    assert "boot timeout" in exited["reason"]
    assert "in target" in swarm.all("StacksDumped")[0]["text"]


def test_two_hang_at_once_and_neither_delays_the_other(start):
    swarm = start(HANGS, "gil,sleep,well")
    swarm.running(3)
    ends = []
    for node_id in (0, 1):
        _stopping, exited = check_silence(swarm, node_id, dumped=True)
        assert exited["signal"] == signal.SIGKILL
        ends.append(exited["at"])
    assert abs(ends[0] - ends[1]) < 0.5
    assert not any(event["node_id"] == 2 for event in swarm.all("NodeStopping"))


def test_a_node_that_beats_again_too_late_is_stopped_all_the_same(start):
    swarm = start("""
def target(node):
    node.healthy()
    if node.generation == 1:
        time.sleep(1.2)
    return beat(node)

sys.exit(supervise(target, node_report_timeout=1.0).run())
""")
    assert swarm.wait_for("NodeExited")["code"] == 0
    assert swarm.all("NodeStopping")[0]["status"] == -1
    swarm.running(2)


def test_a_supervisor_that_was_stopped_itself_blames_nobody(start):
    import select

    swarm = start("sys.exit(supervise(beat, nodes=2, liveness_interval=0.2, node_report_timeout=0.5).run())")
    nodes = swarm.running(2)
    everybody = [swarm.pid, *(node["pid"] for node in nodes)]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    select.select([], [], [], 2.0)  # the time that is not to be held against anybody has to pass
    for pid in reversed(everybody):  # the supervisor last: however late the others are, they are not silent then
        os.kill(pid, signal.SIGCONT)
    suspended = swarm.wait_for("Suspended")
    assert 1.0 < suspended["duration_s"] < 10.0
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert not any(event["status"] == -1 for event in swarm.all("NodeStopping"))


def test_reports_written_while_the_supervisor_was_stopped_count(start):
    import select

    swarm = start("sys.exit(supervise(beat, nodes=2, liveness_interval=0.2, node_report_timeout=0.5).run())")
    swarm.running(2)
    swarm.signal(signal.SIGSTOP)
    select.select([], [], [], 0.9)  # longer than the report timeout, too short to be taken for a suspension
    swarm.signal(signal.SIGCONT)
    start_at = len(swarm.events)
    swarm.wait_for("NodeReported", start=start_at)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert not any(event["status"] == -1 for event in swarm.all("NodeStopping"))


MANY_THREADS = """
threads, depth = int(sys.argv[1]), int(sys.argv[2])

def down(left):
    if left:
        down(left - 1)
    else:
        time.sleep(600)

def this_is_where_it_hangs():
    while True:
        time.sleep(600)

def target(node):
    for _ in range(threads):
        threading.Thread(target=down, args=(depth,), daemon=True).start()
    node.healthy()
    this_is_where_it_hangs()

sys.exit(supervise(target, node_report_timeout=1.0, stack_dump_timeout=2.0, shutdown_timeout=0.1).run())
"""


@pytest.mark.parametrize(("threads", "depth"), [(2, 1), (120, 1), (60, 99)])
def test_the_thread_that_hangs_is_in_the_dump_however_many_there_are(start, threads, depth):
    """faulthandler stops after 100 threads, newest first: the main thread is the oldest of all."""
    swarm = start(MANY_THREADS, str(threads), str(depth))
    text = swarm.wait_for("StacksDumped")["text"]
    assert text.count("this_is_where_it_hangs") == 1
    assert text.count("in down") > threads  # the others are there too, as far as there is room
    assert len(text) < 300_000


FRAMES = {name: f'  File "{name}.py", line 1 in {name}\n' for name in ("main", "worker", "other")}


def dumped(*parts, most=10**6):
    data = "".join(parts).encode()
    kept = min(len(data), most)
    return stack_text(data[:kept], data[len(data) - kept :], len(data))


def test_the_main_thread_is_told_once():
    alone = f"Stack (most recent call first):\n{FRAMES['main']}\n"
    others = f"Thread 0x2 (most recent call first):\n{FRAMES['worker']}\nCurrent thread 0x1 (most recent call first):\n"
    whole = others + FRAMES["main"]
    assert dumped(alone, whole) == whole
    moved = others + FRAMES["other"]  # it has gone on between the two dumps
    assert dumped(alone, moved) == moved


def test_the_main_thread_comes_first_where_the_others_leave_it_out():
    alone = f"Stack (most recent call first):\n{FRAMES['main']}\n"
    others = f"Thread 0x2 (most recent call first):\n{FRAMES['worker']}\n...\n"
    expected = f"Thread 0x0 [main] (most recent call first):\n{FRAMES['main']}\n{others}"
    assert dumped(alone, others) == expected
    assert dumped(others, alone) == expected
    assert dumped(alone) == expected.partition("\n\n")[0] + "\n"


def test_a_dump_that_is_too_long_keeps_both_ends_and_says_what_it_lacks():
    text = dumped("A" * 50, "\n", "B" * 500, "\n", "C" * 50, most=60)
    assert text.startswith("A" * 50 + "\n")
    assert text.endswith("\n" + "C" * 50 + "\n")
    assert "[482 of 602 bytes are left out here]" in text
