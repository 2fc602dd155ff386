"""Signal handlers of the application's own: whatever they raise, and wherever it hits, is told and stops nothing."""

import signal
import threading

import pytest

from swarm_supervisor._foreign_handlers import ForeignHandlers

TELL = """
import json
def tell(**what):
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")
def boom(number, frame):
    raise TimeoutError(f"of the application, signal {number}")
"""
HIT = """
from swarm_supervisor import _runner as runner
step, left = runner.step, []
def hit(fleet, happening, now):
    out = step(fleet, happening, now)          # decided, and not carried out yet: the worst moment to be interrupted
    if left and fleet.booted:
        os.kill(os.getpid(), left.pop())
    return out
runner.step = hit
"""
RAISES = {
    "before the run": "signal.signal(signal.SIGUSR1, boom); left.append(signal.SIGUSR1)",
    "while it warms up": "supervisor.on(events.BeforeWarmup)(arm)",
    "in a listener": "supervisor.on(events.NodeRunning)(arm)",
    "in a timer": "supervisor.on(events.NodeRunning)(lambda event: supervisor.call_at(event.at, arm))",
    "over the supervisor's own": "supervisor.on(events.NodeRunning)(lambda event: arm(event, signal.SIGTTIN))",
}


@pytest.mark.parametrize("installed", RAISES)
def test_what_a_handler_raises_in_the_middle_of_a_decision_is_told_and_stops_no_swarm(start, installed):
    swarm = start(
        TELL
        + HIT
        + f"""
supervisor = supervise(beat, nodes=2, node_restart_delay=0.05)
def arm(event=None, number=signal.SIGUSR1):
    if not armed:
        signal.signal(number, boom)
        armed.append(number)
        left.append(number)
told, armed = [], []
{RAISES[installed]}
@supervisor.on(events.ErrorOccurred)
def ended(event):
    if not told:
        told.append(event)
        nodes = supervisor.snapshot().nodes
        os.kill(nodes[0].pid, signal.SIGKILL)      # the state is whole: a death is seen and mended
@supervisor.on(events.NodeRunning)
def again(event):
    if event.generation == 2:
        supervisor.stop("seen")
sys.exit(supervisor.run())
"""
    )
    assert swarm.end() == 0, swarm.stderr
    name = "SIGTTIN" if installed == "over the supervisor's own" else "SIGUSR1"
    number = int(signal.Signals[name])
    errors = [(event["where"], event["error"]) for event in swarm.all("ErrorOccurred")]
    assert errors == [
        (f"the application's handler of {name}", f"TimeoutError: of the application, signal {number}"),
    ]
    assert [event["node_id"] for event in swarm.all("NodeExited") if not event["planned"]] == [0]


def test_handlers_are_the_applications_own_in_nodes_and_after_the_run(start):
    swarm = start(
        TELL
        + """
signal.signal(signal.SIGUSR1, boom)
signal.siginterrupt(signal.SIGUSR1, False)
def target(node):
    node.healthy()
    if node.generation > 1:
        node.stopping.wait()
        return 0
    same = signal.getsignal(signal.SIGUSR1) is boom
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    except TimeoutError:
        tell(same=same, raised=True)
    return 0
supervisor = supervise(target, nodes=1, node_restart_delay=0.05)
supervisor.on(events.NodeRunning)(lambda event: event.generation == 2 and supervisor.stop())
from swarm_supervisor._prctl import signal_action
def action():
    known = signal_action(signal.SIGUSR1)      # the handler and, behind the mask, the flags
    return known[:8] + known[136:140]
before = action()
supervisor.run()
tell(after=[signal.getsignal(signal.SIGUSR1) is boom, action() == before])
"""
    )
    assert swarm.end() == 0, swarm.stderr
    assert [{key: value for key, value in event.items() if key != "event"} for event in swarm.all("Told")] == [
        {"same": True, "raised": True},
        {"after": [True, True]},
    ]


def test_what_a_thread_raises_by_a_signal_waits_in_a_bounded_list(monkeypatch):
    woken = threading.Event()
    handlers = ForeignHandlers(woken.set)

    def boom(number, frame):
        raise SystemExit("by the application")

    before = signal.signal(signal.SIGUSR1, boom)
    try:
        handlers.wrap()
        for _ in range(200):
            signal.raise_signal(signal.SIGUSR1)
        assert woken.is_set()
        raised = handlers.take()
        assert 0 < len(raised) <= 64
        assert {(number, str(error)) for number, error in raised} == {(signal.SIGUSR1, "by the application")}
        assert handlers.take() == []
        handlers.put_back()
        assert signal.getsignal(signal.SIGUSR1) is boom
    finally:
        signal.signal(signal.SIGUSR1, before)
