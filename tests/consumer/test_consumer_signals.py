"""Signals of the process that runs an app: its own unless it asked for ours. Each case in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from swarm_consumer.testing import await_committed, committed_offsets, produce

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGCHLD, signal.SIGUSR2)

PROGRAM = """
import json, signal, sys, threading
from swarm_consumer import App
from swarm_consumer.events import StateChanged

settings, topic, signals = json.loads(sys.argv[1])
numbers = [signal.Signals(number) for number in NUMBERS]
look = lambda: [str(signal.getsignal(number)) for number in numbers] + [signal.set_wakeup_fd(-1)]
app = App("signals", settings)

@app.consume(topic)
def handle(messages):
    print("handled", flush=True)

@app.on(StateChanged)
def tell(event):
    if event.state == "running":
        print(json.dumps([before, look()]), flush=True)

before = look()
if signals is None:
    print(json.dumps(app.run()), flush=True)
else:
    print(json.dumps(app.run(signals=signals)), flush=True)
print(json.dumps(look() == before), flush=True)
""".replace("NUMBERS", str(list(map(int, NUMBERS))))


@pytest.fixture
def program(embedded_broker, topic_name):
    """Return a function that starts the program above, and the topic it consumes."""
    topic = topic_name()
    embedded_broker.create_topic(topic)
    produce(embedded_broker.bootstrap, topic, [b"x"])
    started = []

    def start(signals):
        given = json.dumps(
            [{**embedded_broker.client_settings(), "log_level": 0, "auto.commit.interval.ms": 5000}, topic, signals]
        )
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        told = [json.loads(line) for line in iter(process.stdout.readline, "handled\n") if line.strip()]
        return process, *told[0]

    yield start, embedded_broker.bootstrap, topic
    for process in started:
        with process:
            process.kill()


def test_no_signal_handler_is_installed_unless_asked(program):
    start, bootstrap, topic = program
    process, before, during = start(None)
    assert during == before
    process.send_signal(signal.SIGTERM)  # nobody's: it ends the process as it would any other
    assert process.wait(30) == -signal.SIGTERM
    assert committed_offsets(bootstrap, "signals", topic) in ({}, {0: 1})


def test_a_keyboard_interrupt_drains_before_it_is_raised(program):
    start, bootstrap, topic = program
    process, before, during = start(False)
    assert during == before
    process.send_signal(signal.SIGINT)  # Python's own handler raises KeyboardInterrupt
    _, complaint = process.communicate(timeout=30)
    assert complaint.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
    await_committed(bootstrap, "signals", topic, {0: 1}, timeout_s=1)  # by the drain: the interval is 5 s


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_handlers_that_were_asked_for_stop_the_app_and_are_taken_back(program, number):
    """A terminal that was closed ended the process at HUP, with 129 and without a drain."""
    start, bootstrap, topic = program
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored here: nohup
    try:
        process, before_run, during = start(True)
    finally:
        signal.signal(signal.SIGHUP, before)
    changed = [number for number, old, new in zip(NUMBERS, before_run, during, strict=False) if old != new]
    assert changed == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP]
    process.send_signal(number)
    told, _ = process.communicate(timeout=30)
    assert told.split() == ["0", "true"]
    assert committed_offsets(bootstrap, "signals", topic) == {0: 1}


def test_a_hangup_that_nohup_ignores_stays_ignored(program):
    start, _, _ = program
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process, before_run, during = start(True)
    finally:
        signal.signal(signal.SIGHUP, before)
    changed = [number for number, old, new in zip(NUMBERS, before_run, during, strict=False) if old != new]
    assert changed == [signal.SIGINT, signal.SIGTERM, signal.SIGTSTP]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
