"""What people read: the level of a line, why a node ended, what repeats itself."""

import logging
import signal

import pytest

from swarm_health import Status
from swarm_supervisor._core.fleet import Cause, Life
from swarm_supervisor._core.messages import Exited
from swarm_supervisor._core.reasons import unhealthy_reason, why_it_ended
from swarm_supervisor._core.repeats import Repeats
from swarm_supervisor.events import (
    ErrorOccurred,
    NodeEnded,
    NodeExited,
    NodeRestarting,
    NodeStopping,
    NodeTerminating,
    RolloutFinished,
    RolloutStarted,
)

NODE = {"at": 1.0, "node_id": 1, "generation": 2, "pid": 77}
EXIT = {**NODE, "code": 1, "signal": None, "status": "exited with code 1", "uptime_s": 45.04, "reason": "why"}


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        (NodeExited(**EXIT, planned=True), logging.INFO),
        (NodeExited(**EXIT, planned=False), logging.WARNING),
        (NodeStopping(**NODE, status=0, reason="scaled down", uptime_s=1.0), logging.INFO),
        (NodeStopping(**NODE, status=3, reason="over its memory limit", uptime_s=1.0), logging.INFO),
        (NodeStopping(**NODE, status=-1, reason="no report", uptime_s=1.0, planned=False), logging.WARNING),
        (NodeEnded(**NODE, reason="exited with code 0"), logging.INFO),
        (NodeEnded(**NODE, reason="exited with code 125", failed=True), logging.ERROR),
        (RolloutFinished(at=1.0, replaced=2), logging.INFO),
        (RolloutFinished(at=1.0, replaced=1, aborted="node 1: why"), logging.ERROR),
    ],
)
def test_the_level_says_whether_somebody_has_to_look(event, severity):
    assert event.severity == severity


def test_what_repeats_itself_is_told_ever_more_rarely_and_with_its_count():
    errors = [ErrorOccurred(at=1.0, where="fork", error="EAGAIN", node_id=1, times=times) for times in range(1, 101)]
    assert [each.times for each in errors if each.severity == logging.ERROR] == [1, 2, 4, 8, 16, 32, 64]
    assert str(errors[0]) == "error in fork (node 1): EAGAIN"
    assert str(errors[7]) == "error in fork (node 1): EAGAIN (8 times in a row)"
    kills = [NodeTerminating(**NODE, reason="still there", times=times) for times in range(1, 11)]
    assert [each.times for each in kills if each.severity == logging.WARNING] == [1, 2, 4, 8]


def test_lines_are_sentences_that_an_operator_reads_once():
    assert str(NodeStopping(**NODE, status=0, reason="restart requested: SIGUSR2", uptime_s=20.395)) == (
        "node 1 (pid 77) stopping: restart requested: SIGUSR2 (was up 20.4 s)"
    )
    assert str(NodeRestarting(**NODE, delay_s=1.032, attempt=1, reason="exited with code 4: hung")) == (
        "node 1 restarts in 1.0 s (attempt 1): exited with code 4: hung"
    )
    assert str(NodeRestarting(**NODE, delay_s=0.0, attempt=0, reason="why")) == "node 1 restarts now: why"
    assert str(NodeExited(**{**EXIT, "reason": ""}, planned=False)) == (
        "node 1 (pid 77, generation 2) ended after 45.0 s, exited with code 1"
    )
    assert str(RolloutStarted(at=1.0, node_ids=(0,))) == "rolling restart of node 0"
    assert str(RolloutStarted(at=1.0, node_ids=(0, 1, 2))) == "rolling restart of nodes 0, 1 and 2"
    assert str(RolloutStarted(at=1.0, node_ids=tuple(range(40)))) == "rolling restart of 40 nodes"


def test_a_failure_is_counted_while_it_repeats_itself_and_told_anew_after_a_pause():
    repeats = Repeats()
    assert [repeats.count("listener", float(now)) for now in range(5)] == [1, 2, 3, 4, 5]
    assert repeats.count("another", 5.0) == 1
    assert repeats.count("listener", 64.0) == 6
    assert repeats.count("listener", 124.1) == 1
    for number in range(10_000):
        assert repeats.count(number, 125.0) == 1
    assert len(repeats._seen) == 256


FAILS_EACH_TIME = """
supervisor = supervise(lambda node: beat(node, 0.02), node_report_timeout=30.0)

@supervisor.on(events.NodeReported)
def count(event):
    raise LookupError("no such table")

sys.exit(supervisor.run())
"""


def test_a_listener_that_fails_each_time_does_not_fill_the_log(start):
    swarm = start(FAILS_EACH_TIME)
    swarm.wait_for("ErrorOccurred", lambda event: event["times"] == 32)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    failures = swarm.all("ErrorOccurred")
    assert len(failures) >= 32  # whoever listens is told each time
    told = [line for line in swarm.stderr.splitlines() if "LookupError: no such table" in line]
    assert len(told) <= 7
    assert told[-1].endswith("times in a row)")


@pytest.mark.parametrize(
    ("status", "reported", "reason"),
    [
        (Status.CONSUMING, "consume of orders[1] runs for 20 s", "consume of orders[1] runs for 20 s"),
        (77, "the licence server refuses us", "status 77: the licence server refuses us"),
        (77, "", "it reported status 77"),
        (Status.CONSUMING, "", "it reported status 2"),
    ],
)
def test_a_status_is_told_once_and_by_its_reason(status, reported, reason):
    assert unhealthy_reason(status, reported) == reason


def ended(code=None, number=None, hint="", **life):
    one = Life(1, 2, **life)
    one.exit = Exited(1, 2, code, number, "text", hint)
    return why_it_ended(one)


def test_a_node_that_gave_its_reason_is_not_said_to_have_given_none():
    assert ended(1) == "it gave no reason"
    assert ended(1, said="fenced: another process uses its group.instance.id") == (
        "fenced: another process uses its group.instance.id"
    )
    assert ended(0) == "the target returned"
    assert ended(125) == "it asked not to be restarted"
    assert ended(None, signal.SIGTERM) == "it got TERM from outside"
    assert "(see dmesg)" in ended(None, signal.SIGKILL)
    assert ended(None, signal.SIGKILL, "probably the OOM killer") == (
        "the signal did not come from the supervisor; probably the OOM killer"
    )
    assert ended(None, signal.SIGKILL, "ours", cause=Cause.SILENT, reason="no report for 60 s", kills=1) == (
        "no report for 60 s; did not stop in time and was killed"
    )


GIVES_ITS_REASON = """
def target(node):
    node.healthy()
    if node.generation == 1:
        node.ending("another process uses its id: give each swarm its own")
        return 1
    return beat(node)

sys.exit(supervise(target).run())
"""


def test_the_reason_that_a_node_gives_is_that_of_its_exit_and_a_warning_in_the_log(start):
    swarm = start(GIVES_ITS_REASON)
    exited = swarm.wait_for("NodeExited")
    assert exited["reason"] == "another process uses its id: give each swarm its own"
    assert exited["planned"] is False
    restarting = swarm.wait_for("NodeRestarting")
    assert restarting["reason"] == f"exited with code 1: {exited['reason']}"
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    # Python shows warnings without any configuration of its log, and nothing below.
    assert "ended after" in swarm.stderr
    assert "is running" not in swarm.stderr
