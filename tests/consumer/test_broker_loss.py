"""A client that has lost all its brokers ends its node; an outage, however long, does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swarm_consumer._connection.broker_loss import BrokerWatch

REPORTED = Path(__file__).parents[2] / "docs" / "upstream" / "rebootstrap.py"

# What the statistics of plain clients listed: stuck ones, and ones in a real outage (embedded broker taken down).
STUCK = [
    [("logical", "TRY_CONNECT")],
    [("logical", "TRY_CONNECT"), ("learned", "INIT")],
    [("logical", "CONNECT"), ("logical", "INIT")],
    [],
]
OUTAGE = [
    [("configured", "TRY_CONNECT"), ("logical", "TRY_CONNECT")],
    [("configured", "INIT"), ("logical", "INIT")],
    [("configured", "CONNECT"), ("learned", "INIT"), ("logical", "TRY_CONNECT")],
    [("learned", "TRY_CONNECT"), ("logical", "DOWN")],
    [("learned", "DOWN"), ("logical", "TRY_CONNECT")],
]
STATES = ("query-coord", "wait-coord", "wait-broker-transport")
UP = [("learned", "UP"), ("logical", "UP")]


def follow(steps):
    """Feed (seconds since the step before, state, brokers) to a watch; return its last word."""
    watch, now, word = BrokerWatch(), 1000.0, None
    for seconds, state, brokers in steps:
        now += seconds
        word = watch.judge(state, brokers, now)
    return word


def every(seconds, state, brokers, total):
    return [(seconds, state, brokers)] * (int(total / seconds) + 1)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("brokers", STUCK)
@pytest.mark.parametrize("interval", [0.5, 5.0])
def test_a_client_without_brokers_is_found_after_twenty_seconds(state, brokers, interval):
    up = [(0, "up", UP)]
    assert follow(up + every(interval, state, brokers, 15)) is None
    word = follow(up + every(interval, state, brokers, 25))
    assert word is not None
    assert "no longer knows a broker" in word


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("brokers", OUTAGE)
def test_an_outage_is_none_however_long(state, brokers):
    assert follow([(0, "up", UP), *every(5, state, brokers, 7200)]) is None


def test_an_empty_list_for_a_moment_within_an_outage_is_nothing():
    steps = [(0, "up", UP), *every(5, "query-coord", OUTAGE[0], 60), (5, "query-coord", STUCK[0])]
    assert follow(steps) is None
    assert follow([*steps, (5, "query-coord", OUTAGE[0]), (5, "query-coord", STUCK[0])]) is None


def test_a_client_that_never_had_a_coordinator_waits():
    assert follow(every(5, "query-coord", [], 3600)) is None


def test_a_coordinator_that_is_back_ends_the_suspicion():
    assert follow([(0, "up", UP), *every(5, "wait-coord", STUCK[0], 15), (5, "up", UP), (5, "wait-coord", [])]) is None


def test_no_coordinator_for_two_minutes_beside_a_connected_broker_is_told():
    brokers = [("learned", "UP"), ("logical", "TRY_CONNECT")]
    assert follow([(0, "up", UP), *every(5, "wait-coord", brokers, 110)]) is None
    word = follow([(0, "up", UP), *every(5, "wait-coord", brokers, 130)])
    assert word is not None
    assert "although a broker is connected" in word


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_client_that_fencing_leaves_without_brokers_ends_its_node(protocol):
    """The real thing, in a process of its own: a client that is lost cannot be closed."""
    program = Path(__file__).with_name("fenced_nodes.py")
    ended = subprocess.run([sys.executable, program, protocol], capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no longer knows a broker" in ended.stdout
    assert "run() returned 1" in ended.stdout


def test_the_program_of_the_report_is_short_and_knows_nothing_of_swarm():
    source = REPORTED.read_text()
    compile(source, REPORTED.name, "exec")
    assert len(source.splitlines()) <= 60
    assert "swarm" not in source


def test_the_program_of_the_report_starts():
    with subprocess.Popen([sys.executable, REPORTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        try:
            one.wait(8.0)  # it takes 15 s at least
        except subprocess.TimeoutExpired:
            return
        finally:
            one.kill()
        pytest.fail(f"it ended with {one.returncode}: {one.stderr.read()}")
