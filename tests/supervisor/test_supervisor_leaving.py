"""Whether a node gives back what its id holds: told before each TERM, and known to the node for any other end."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_health import Status, pipe
from swarm_supervisor import DO_NOT_RESTART
from swarm_supervisor._core import messages as m
from swarm_supervisor._core.lifecycle import State
from swarm_supervisor._core.prospect import SOON_S, Prospect
from swarm_supervisor._node import Node
from swarm_supervisor._node_handle import Channels
from swarm_supervisor._orders import GO, LEAVE, REMOVE, RETURN
from tests.supervisor.script import Script

TOLD = """
def told(node, code):
    os.write(1, b'{"event": "Left", "node_id": %d, "generation": %d, "leaving": %d}\\n'
             % (node.id, node.generation, node.leaving_with(code)))
    return code
"""


def words(script, node_id=0):
    """What a node was told before its TERM, as letters: l(eave), (re)m(ove), r(eturn), T(ERM)."""
    letters = {m.Leave: "l", m.Remove: "m", m.Return: "r", m.Term: "T"}
    return "".join(letters[type(each)] for each in script.actions if type(each) in letters and each.node_id == node_id)


def test_the_end_of_the_swarm_is_for_good():
    script = Script(2, first_restart_delay=0.0)
    script.boot(0)
    script.boot(1)
    script.do(m.StopSwarm("asked"))
    assert (words(script, 0), words(script, 1)) == ("lT", "lT")


def test_the_end_of_the_swarm_is_for_good_for_a_node_that_stops_already():
    """A TERM from outside, or a replacement: it believes that a successor comes."""
    script = Script(2, first_restart_delay=0.0, max_unavailable=2)
    script.boot(0)
    script.boot(1)
    script.do(m.Reported(0, 1, leaving="SIGTERM"))
    spare = script.spare(1)
    script.do(m.Reported(1, spare, ready=True))
    assert (words(script, 0), words(script, 1)) == ("", "rT")
    script.do(m.StopSwarm("asked"))
    assert words(script, 0) == "l"
    assert words(script, 1) == "rTlT"  # the last TERM is for the spare, which holds nothing that it could leave
    assert [each.generation for each in script.actions if isinstance(each, m.Leave)] == [1, 1]


def test_a_crash_loop_that_ends_the_swarm_makes_the_others_leave():
    script = Script(2, on_crash_loop="exit", max_restarts=1)
    script.boot(0)
    script.boot(1)
    script.exits(0)
    assert words(script, 1) == "lT"


def test_scaled_away_is_for_good_and_said_once():
    script = Script(2)
    script.boot(0)
    script.boot(1)
    script.do(m.Scale(1))
    assert words(script, 1) == "lmT"
    script.do(m.StopSwarm("asked"))
    assert words(script, 1) == "lmT"


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_a_planned_replacement_comes_at_once_whatever_the_delay(delay):
    script = Script(1, node_restart_delay=delay)
    script.boot()
    script.do(m.Reported(0, script.spare(), ready=True))
    assert words(script) == "rT"


def test_a_node_over_its_memory_limit_that_has_a_spare_stays():
    script = Script(1, stable_after=0.0)
    script.boot()
    script.now += 100.0
    script.do(m.Reported(0, 1, Status.MEMORY, "900 MB"))
    script.do(m.Tick())
    script.do(m.Forked(0, 2, 900))
    script.do(m.Reported(0, 2, ready=True))
    assert words(script) == "rT"


@pytest.mark.parametrize(
    ("settings", "young", "old"),
    [
        ({}, "lT", "lT"),
        ({"first_restart_delay": 0.0}, "rT", "rT"),
        ({"first_restart_delay": 0.0, "restart": "never"}, "lT", "lT"),
        ({"node_restart_delay": 1.0}, "rT", "rT"),
        ({"first_restart_delay": 0.0, "on_crash_loop": "exit", "max_restarts": 1}, "lT", "lT"),
    ],
)
@pytest.mark.parametrize("status", [Status.MEMORY, Status.CONSUMING, 77])
def test_a_node_that_is_stopped_because_it_is_unwell_hears_what_its_delay_means(settings, young, old, status):
    """A memory stop without a spare among them: a static member would keep its partitions silent for the delay."""
    for age, expected in ((1.0, young), (100.0, old)):
        script = Script(1, **settings)
        script.boot()
        script.now += age
        script.healthy()
        script.do(m.Reported(0, 1, status, "unwell"))
        if status == Status.MEMORY and age > 60.0:
            script.do(m.Tick())
            script.do(m.ForkFailed(0, 2, "EAGAIN"))  # no spare can be had
        assert words(script) == expected


def test_a_silent_node_hears_it_too_and_a_delay_that_has_grown_counts():
    script = Script(1, first_restart_delay=0.0, node_report_timeout=20.0)
    for expected in ("rT", "lT"):
        script.boot()
        script.actions.clear()
        script.until(State.STOPPING)
        assert words(script) == expected
        script.exits()


def test_a_warm_spare_takes_over_from_a_node_that_is_unwell():
    script = Script(2)
    script.warm_spare()
    script.do(m.Reported(0, 1, Status.CONSUMING, "stuck"))
    assert words(script) == "rT"


@pytest.mark.parametrize(("age", "expected"), [(1.0, "lT"), (6.0, "rT")])
def test_a_node_that_is_recycled_without_a_spare_leaves_if_it_waits_for_its_delay(age, expected):
    script = Script(1)
    script.boot()
    script.now += age
    script.healthy()
    script.do(m.Reported(0, 1, recycle="1,000 jobs"))
    if age > 5.0:
        script.do(m.Tick())
        script.do(m.ForkFailed(0, 2, "EAGAIN"))
        script.do(m.Tick())
    assert words(script) == expected


def test_the_fork_tells_what_an_end_that_is_not_ordered_means():
    script = Script(1, first_restart_delay=0.5, restart="on-failure")

    def told():
        script.boot()
        return [each for each in script.actions if isinstance(each, m.Fork)][-1].prospect

    first = told()
    assert (first.own_delays, first.term_delays) == ((0.5, 0.5), (5.0, 0.5))
    assert (first.restart, first.stable_after, first.recycle_after) == ("on-failure", 60.0, 5.0)
    script.exits()
    assert told().own_delays == (5.0, 0.5)
    script.exits()
    assert told().own_delays == (10.0, 0.5)
    for _ in range(3):
        script.exits()
        last = told()
    assert last.own_delays == (60.0, 60.0)  # a crash loop, also for a node that is stable first


@pytest.mark.parametrize(
    ("code", "healthy_s", "signalled", "recycles", "restart", "leaves"),
    [
        (0, 1.0, False, False, "always", True),
        (1, 1.0, False, False, "always", True),
        (1, 70.0, False, False, "always", False),  # it was stable, and comes back at once
        (1, None, False, False, "always", True),
        (0, 1.0, True, False, "always", True),
        (0, 70.0, True, False, "always", False),
        (0, 70.0, False, False, "on-failure", True),
        (1, 70.0, False, False, "on-failure", False),
        (0, 70.0, True, False, "on-failure", True),
        (1, 70.0, True, False, "on-failure", False),
        (1, 70.0, False, False, "never", True),
        (0, 6.0, False, True, "never", False),
        (0, 4.0, False, True, "never", True),  # it waits for its delay
        (1, 70.0, False, True, "never", True),
        (DO_NOT_RESTART, 70.0, False, True, "always", True),
    ],
)
def test_a_node_knows_what_its_own_end_means(code, healthy_s, signalled, recycles, restart, leaves):
    prospect = Prospect(restart=restart, stable_after=60.0, own_delays=(5.0, 0.0), term_delays=(5.0, 0.0),
                        recycle_after=5.0)  # fmt: skip
    assert prospect.ends_for_good(code, healthy_s, signalled=signalled, recycles=recycles) is leaves


@given(st.floats(0.0, 10.0), st.floats(0.0, 10.0), st.none() | st.floats(0.0, 100.0), st.integers(1, 124))
def test_a_node_stays_exactly_if_its_delay_is_short(young, stable, healthy_s, code):
    prospect = Prospect(stable_after=60.0, own_delays=(young, stable), term_delays=(stable, young))
    delay = stable if healthy_s is not None and healthy_s >= 60.0 else young
    assert prospect.ends_for_good(code, healthy_s, signalled=False, recycles=False) is (delay > SOON_S)


@pytest.fixture
def node():
    channels = Channels(go=False)
    reader, writer = pipe()
    prospect = Prospect(own_delays=(5.0, 0.0), stable_after=60.0, term_delays=(5.0, 0.0), recycle_after=0.0)
    node = Node(0, 1, os.getppid(), writer, channels.orders_read, name="test", prospect=prospect)
    node.say = lambda order: os.write(channels.orders_write, order)
    yield node
    reader.close()
    writer.close()
    channels.close()


def test_an_order_counts_more_than_what_the_node_knows(node):
    node.say(GO)
    assert node.leaving
    node.say(RETURN)
    assert not node.leaving
    assert node.leaving_with(DO_NOT_RESTART)  # it knows better: nothing follows
    node.say(LEAVE)
    assert node.leaving
    assert not node.removed
    node.say(REMOVE)
    assert node.removed


def test_a_node_that_asked_for_a_fresh_process_stays(node):
    node.say(GO)
    node.healthy()
    assert node.leaving
    node.recycle("1,000 jobs")
    assert not node.leaving
    assert node.leaving_with(1)  # a crash all the same


@pytest.mark.parametrize("how", ["TERM", "stop", "crash loop"])
def test_every_end_of_the_swarm_makes_its_nodes_leave(start, tmp_path, how):
    from swarm_supervisor import ControlClient

    swarm = start(
        TOLD
        + """
def target(node):
    if node.id == 1 and node.generation > 1:
        return 1
    beat(node)
    return told(node, 0)

sys.exit(supervise(target, nodes=2, control_socket="c.sock", on_crash_loop="exit", max_restarts=2).run())
"""
    )
    nodes = swarm.running(2)
    if how == "TERM":
        swarm.signal(signal.SIGTERM)
    elif how == "stop":
        with ControlClient(tmp_path / "c.sock") as client:
            client.stop()
    else:
        os.kill(next(each["pid"] for each in nodes if each["node_id"] == 1), signal.SIGKILL)
    assert swarm.end() == (5 if how == "crash loop" else 0)
    left = {event["node_id"]: event["leaving"] for event in swarm.all("Left")}
    assert left == ({0: 1} if how == "crash loop" else {0: 1, 1: 1})


def test_a_supervisor_whose_decisions_fail_makes_its_nodes_leave(start):
    swarm = start(
        TOLD
        + """
from swarm_supervisor import _runner

def target(node):
    beat(node)
    return told(node, 0)

real = _runner.step
def step(*arguments):
    if Path("fail").exists():
        raise RuntimeError("no decision")
    return real(*arguments)

_runner.step = step
supervise(target, nodes=2).run()
"""
    )
    swarm.running(2)
    (swarm._stderr.parent / "fail").touch()
    assert swarm.end() == 1
    assert "no decision" in swarm.stderr
    assert {event["node_id"]: event["leaving"] for event in swarm.all("Left")} == {0: 1, 1: 1}


def test_a_rolling_restart_makes_no_node_leave(start):
    swarm = start(
        TOLD
        + """
def target(node):
    beat(node)
    return told(node, 0)

sys.exit(supervise(target, nodes=2, node_restart_delay=5.0, restart_delay_max=5.0).run())
"""
    )
    swarm.running(2)
    swarm.signal(signal.SIGUSR2)
    assert swarm.wait_for("RolloutFinished")["replaced"] == 2
    assert [event["leaving"] for event in swarm.all("Left")] == [0, 0]
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert [event["leaving"] for event in swarm.all("Left")] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("settings", "code", "leaves"),
    [
        ("node_restart_delay=5.0, restart_delay_max=5.0", 1, 1),
        ("node_restart_delay=5.0, restart_delay_max=5.0, first_restart_delay=0.0", 1, 0),
        ("restart='never'", 1, 1),
        ("restart='on-failure'", 0, 1),
        ("restart='on-failure'", 1, 0),
        ("", 125, 1),
    ],
)
def test_a_node_that_ends_on_its_own_knows_what_follows(start, settings, code, leaves):
    swarm = start(
        TOLD
        + f"""
def target(node):
    node.healthy()
    if node.generation > 1:
        beat(node)
    return told(node, {code})

sys.exit(supervise(target, {settings}).run())
"""
    )
    assert swarm.wait_for("Left")["leaving"] == leaves
    follows = swarm.wait_for("NodeExited") and swarm.read(0.5)
    delays = [event["delay_s"] for event in swarm.all("NodeRestarting")]
    assert (bool(delays) and delays[0] <= 1.1) is not bool(leaves), follows


@pytest.mark.parametrize(("first", "stable_after", "leaves"), [("None", 0.0, 1), ("0.0", 0.0, 0), ("0.0", 60.0, 1)])
def test_a_node_that_gets_term_from_somebody_leaves_or_comes_back_at_once(start, first, stable_after, leaves):
    swarm = start(
        TOLD
        + f"""
def target(node):
    beat(node)
    return told(node, 0)

sys.exit(supervise(target, node_restart_delay=1.5, restart_delay_max=5.0, first_restart_delay={first},
                   stable_after={stable_after}).run())
"""
    )
    node = swarm.running(1)[0]
    os.kill(node["pid"], signal.SIGTERM)
    assert swarm.wait_for("Left")["leaving"] == leaves
    assert swarm.wait_for("NodeExited")["cause"] == "operator"
    assert swarm.wait_for("NodeRestarting")["delay_s"] == (1.5 if leaves else 0.0)
