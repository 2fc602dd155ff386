"""Nodes that come back as the same static member cost no rebalance; without static ids the same probes count."""

import logging
import struct
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.generations import MemberGenerations, generation_of, group_of
from benchmarks.static_membership import (
    CONTROL_SESSION_S,
    Kill,
    Membership,
    Outcome,
    Plan,
    changes,
    probes,
    problems,
    text,
)


def key(group: bytes, version: int = 2) -> bytes:
    return struct.pack(">hh", version, len(group)) + group


@pytest.mark.parametrize(
    "value",
    [
        struct.pack(">hh", 3, 8) + b"consumer" + struct.pack(">i", 7) + b"rest",
        struct.pack(">hb", 4, 9) + b"consumer" + struct.pack(">i", 7) + b"rest",  # lengths are varints of length + 1
    ],
)
def test_the_brokers_record_of_a_group_tells_its_generation(value: bytes) -> None:
    assert group_of(key(b"delays")) == "delays"
    assert group_of(key(b"delays", version=1)) is None  # an offset
    assert generation_of(value) == 7


def test_a_member_tells_each_generation_once_in_a_row() -> None:
    told: list[int] = []
    handler = MemberGenerations(told.append)
    for line in (
        'HEARTBEAT [x] [thrd:main]: Heartbeat for group "g" generation id -1',
        "JOINGROUP [x] [thrd:main]: JoinGroup response: GenerationId 3, Protocol cooperative-sticky, LeaderId x (me)",
        'HEARTBEAT [x] [thrd:main]: Heartbeat for group "g" generation id 3',
        'HEARTBEAT [x] [thrd:main]: Heartbeat for group "g" generation id 3',
        "CGRPSTATE [x] [thrd:main]: Group g changed state up -> up",
        'HEARTBEAT [x] [thrd:main]: Heartbeat for group "g" generation id 4',
    ):
        handler.handle(logging.LogRecord("librdkafka", logging.DEBUG, "", 0, line, (), None))
    assert told == [3, 4]
    assert changes([2, 2, 3, 4, 4]) == 2


def outcome(static: bool, *, generations: list[int], events: int, silence: float, lost: int = 0) -> Outcome:
    kills = [Kill(0, 100, 1.0, {0: 0.1, 3: silence})]
    return Outcome(static, kills, generations, generations, events, produced=10, handled=10 - lost, lost=lost,
                   out_of_bounds=0)  # fmt: skip


CONTROL = outcome(False, generations=[3, 4], events=2, silence=6.0)


@pytest.mark.parametrize(
    ("static", "control", "complaints"),
    [
        (outcome(True, generations=[3, 3], events=0, silence=0.2), CONTROL, 0),
        (outcome(True, generations=[3, 4], events=0, silence=0.2), CONTROL, 2),
        (outcome(True, generations=[3, 3], events=1, silence=0.2), CONTROL, 1),
        (outcome(True, generations=[3, 3], events=0, silence=1.6), CONTROL, 1),
        (outcome(True, generations=[3, 3], events=0, silence=0.2, lost=1), CONTROL, 1),
        (
            outcome(True, generations=[3, 3], events=0, silence=0.2),
            outcome(False, generations=[3, 3], events=0, silence=6.0),
            3,
        ),
    ],
)
def test_what_does_not_hold_is_told(static: Outcome, control: Outcome, complaints: int) -> None:
    assert len(problems(static, control)) == complaints
    assert ("PASSED" in text(static, control)) == (complaints == 0)


def test_killed_static_members_cost_no_rebalance_and_others_do(kafka_broker: Any, tmp_path: Path) -> None:
    static = Membership(Plan(static=True, kills=4), kafka_broker, tmp_path).carry_out()
    control = Membership(Plan(static=False, kills=1), kafka_broker, tmp_path).carry_out()
    assert set(probes(static).values()) == {0}, static
    assert all(probes(control).values()), control
    assert static.lost == control.lost == 0
    assert len(static.silences) >= 4
    # Whoever waits for the end of a session is silent for all of it; a node that comes back in time is not.
    assert static.silences[-1] < CONTROL_SESSION_S - 1.0 < control.silences[-1]
