"""A start that waits for something: no node is forked, and everything else is answered."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_supervisor._core import messages
from swarm_supervisor._core.decisions import step
from swarm_supervisor._core.fleet import Fleet, next_deadline
from swarm_supervisor._core.view import take_snapshot
from swarm_supervisor.settings import Settings

MEANWHILE = st.sampled_from(
    [
        messages.Tick(),
        messages.Restart("asked"),
        messages.Restart("asked", 0),
        messages.Scale(1),
        messages.Scale(5),
        messages.QuietSwarm("asked"),
        messages.Hold("waits for the broker"),
        messages.Hold("waits for the topic"),
        messages.Slept(10.0),
    ]
)


def _forks(actions: list[messages.Action]) -> list[int]:
    return [action.node_id for action in actions if isinstance(action, messages.Fork)]


@given(st.lists(st.tuples(MEANWHILE, st.floats(0.0, 1e6)), max_size=30))
def test_no_node_is_forked_while_they_are_held_and_every_wanted_one_after(happenings):
    fleet = Fleet(Settings(nodes=3), 3, 0.0)
    now = 0.0
    step(fleet, messages.Hold("waits for the broker"), now)
    for happening, later in happenings:
        now += later
        if isinstance(happening, messages.Restart) and happening.node_id not in (None, *fleet.members):
            continue
        assert _forks(step(fleet, happening, now)) == []
        snapshot = take_snapshot(fleet, now, pid=1)
        assert (snapshot.state, snapshot.reason) == ("starting", fleet.held)
    while (due := next_deadline(fleet, now)) is not None and due <= now:  # the loop does not spin over held nodes
        assert _forks(step(fleet, messages.Tick(), now)) == []
    step(fleet, messages.Release(), now)
    forked: list[int] = []
    while (due := next_deadline(fleet, now)) is not None and due <= now:
        new = _forks(step(fleet, messages.Tick(), now))
        forked += new
        for node_id in new:
            step(fleet, messages.Forked(node_id, fleet.members[node_id].main.generation, 1000 + node_id, 0.001), now)
    assert sorted(forked) == list(range(fleet.wanted))


def test_a_stop_while_they_are_held_ends_the_swarm_at_once_with_the_code_that_was_given():
    fleet = Fleet(Settings(nodes=2), 2, 0.0)
    step(fleet, messages.Hold("waits for the broker"), 0.0)
    actions = step(fleet, messages.StopSwarm("no broker", 2), 5.0)
    assert actions[-1] == messages.Finish(2)
    assert take_snapshot(fleet, 5.0, pid=1).reason == "no broker"


HELD = """
supervisor = supervise(beat, nodes=2, control_socket="control.sock")
supervisor.hold("waits for the file go")
asked = 0

def ask():
    supervisor.in_child(lambda: b"yes" if Path("go").exists() else b"no", 5.0, answered)

def answered(answer):
    global asked
    asked += 1
    supervisor.hold(f"waits for the file go, asked {asked} times")
    if answer == b"yes":
        supervisor.release()
    else:
        supervisor.call_at(time.monotonic() + 0.02, ask)

@supervisor.on(events.AfterWarmup)
def begin(event):
    supervisor.call_at(event.at, ask)

sys.exit(supervisor.run())
"""


def test_the_control_socket_answers_while_children_ask_and_the_nodes_follow(start, tmp_path):
    from swarm_supervisor import ControlClient

    swarm = start(HELD)
    swarm.wait_for("Held", lambda event: "asked 3 times" in event["reason"])
    with ControlClient(tmp_path / "control.sock") as client:
        snapshot = client.status()
        assert snapshot.state == "starting"
        assert "waits for the file go" in snapshot.reason
        assert [node.pid for node in snapshot.nodes] == [None, None]
        assert all("waits for the file go" in node.reason for node in snapshot.nodes), "not: first start"
        assert len(os.listdir(f"/proc/{snapshot.pid}/task")) == 1
    (tmp_path / "go").touch()
    swarm.running(2)
    assert swarm.events.index(swarm.all("Released")[0]) < swarm.events.index(swarm.all("AfterFork")[0])
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_start_that_waits_and_its_child_with_it(start, gone, tmp_path, number):
    swarm = start("""
supervisor = supervise(beat)
supervisor.hold("waits")

def sleep_long():
    Path("child.tmp").write_text(str(os.getpid()))
    os.rename("child.tmp", "child")
    time.sleep(600)

@supervisor.on(events.AfterWarmup)
def begin(event):
    def ask():
        supervisor.in_child(sleep_long, 500.0, print)
        supervisor.call_at(time.monotonic() + 0.01, look)
    def look():
        if Path("child").exists():
            supervisor.hold("the child sleeps")
        else:
            supervisor.call_at(time.monotonic() + 0.01, look)
    supervisor.call_at(event.at, ask)

sys.exit(supervisor.run())
""")
    swarm.wait_for("Held", lambda event: event["reason"] == "the child sleeps")
    swarm.signal(number)
    assert swarm.end() == 0
    assert swarm.all("AfterFork") == []
    gone(int((tmp_path / "child").read_text()), 10.0)


@pytest.mark.parametrize("subreaper", [False, True])  # with it, and as PID 1, the supervisor reaps what is no node
def test_a_child_that_raises_hangs_dies_or_floods_is_told_with_its_reason(start, subreaper):
    swarm = start(
        f"""
supervisor = supervise(beat, subreaper={subreaper})
"""
        + """
supervisor.hold("asks")
told = {}

def bad():
    raise KeyError("topic")

CASES = {"fine": lambda: b"x" * 300_000, "raises": bad, "hangs": lambda: time.sleep(60), "dies": lambda: os._exit(7)}

def answered(name, answer):
    told[name] = answer
    if len(told) == len(CASES):
        supervisor.stop("all are told", 42 if right() else 1)

def right():
    print(told.keys(), {k: str(v)[:80] for k, v in told.items()}, file=sys.stderr)
    return (told["fine"] == b"x" * 300_000 and "KeyError" in str(told["raises"]) and "longer than" in str(told["hangs"])
            and "code 7" in str(told["dies"]))

@supervisor.on(events.AfterWarmup)
def begin(event):
    def ask():
        for name, function in CASES.items():
            supervisor.in_child(function, 1.5, lambda answer, name=name: answered(name, answer))
    supervisor.call_at(event.at, ask)

code = supervisor.run()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    sys.exit(code)
"""
    )
    assert swarm.end() == 42, swarm.stderr


def test_a_callback_that_raises_costs_nothing(start):
    swarm = start("""
supervisor = supervise(beat)
supervisor.hold("asks")

def answered(answer):
    supervisor.release()
    raise RuntimeError("mine")

@supervisor.on(events.AfterWarmup)
def begin(event):
    supervisor.call_at(event.at, lambda: supervisor.in_child(lambda: b"", 5.0, answered))

sys.exit(supervisor.run())
""")
    swarm.running(1)
    assert "mine" in swarm.all("ErrorOccurred")[0]["error"]
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0


def test_what_is_the_supervisors_own_is_closed_in_nodes_and_in_children(start):
    swarm = start("""
read_fd, write_fd = os.pipe()

def there():
    return os.path.exists(f"/proc/self/fd/{read_fd}")

def target(node):
    if there():
        return 1
    return beat(node)

supervisor = supervise(target, restart="never")
supervisor.close_in_children(lambda: os.close(read_fd))
supervisor.hold("asks")

def answered(answer):
    supervisor.release() if answer == b"False" else supervisor.stop(f"it is there: {answer}", 1)

@supervisor.on(events.AfterWarmup)
def begin(event):
    supervisor.call_at(event.at, lambda: supervisor.in_child(lambda: str(there()).encode(), 5.0, answered))

sys.exit(supervisor.run())
""")
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0, swarm.stderr
