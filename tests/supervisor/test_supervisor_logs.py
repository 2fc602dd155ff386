"""Log lines of many processes on one stream, and a supervisor that waits for none of them."""

import logging
import os
import socket
import subprocess
import sys
import threading

import pytest

from swarm_supervisor.logs import PIPE_BUF, LineHandler, cut

NODES_THAT_LOG = """
import logging
from swarm_supervisor.logs import configure
configure(logging.INFO)
log = logging.getLogger("work")
def target(node):
    node.healthy()
    for number in range(300):
        log.info("<%s>", f"{node.id}" * (number * 7 % 3000))
    log.info("<%s>", "y" * 9000)
    return 0
sys.exit(supervise(target, nodes=4, restart="never").run())
"""


def bodies(stderr):
    return [line.partition(" work: ")[2] for line in stderr.splitlines() if " work: " in line]


def whole(body):
    return body[0] == "<" and body[-1] == ">" and len(set(body[1:-1])) <= 1


@pytest.fixture
def script(preamble, tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(preamble + text)
        return [sys.executable, str(path)]

    return write


def test_lines_of_all_processes_on_a_pipe_are_whole_or_cut_and_never_mixed(script):
    done = subprocess.run(script(NODES_THAT_LOG), capture_output=True, text=True, timeout=60, check=True)
    found = bodies(done.stderr)
    assert len(found) == 4 * 301
    assert sum("bytes cut" in body for body in found) == 4
    assert all(whole(body) for body in found if "bytes cut" not in body)
    assert all(len(line.encode()) < PIPE_BUF for line in done.stderr.splitlines() if " work: " in line)


def test_lines_of_all_processes_in_a_file_are_whole(start):
    swarm = start(NODES_THAT_LOG)
    assert swarm.end() == 0
    found = bodies(swarm.stderr)
    assert len(found) == 4 * 301
    assert all(whole(body) for body in found)
    assert sum(len(body) == 9002 for body in found) == 4


def test_a_supervisor_whose_log_nobody_reads_goes_on_and_says_later_what_is_missing(script):
    """Standard error is a full pipe while nodes die and are replaced; it is read only at the end."""
    command = script("""
import logging
from swarm_supervisor.logs import configure
handler = configure(logging.INFO)      # at this level nodes have nothing to say, and would wait as any program does
supervisor = supervise(beat, nodes=1)
@supervisor.on(events.AfterFork)
def flood(event):
    for number in range(5000):
        logging.info("x" * 200)
    if event.generation < 3:
        os.kill(event.pid, signal.SIGKILL)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
code = supervisor.run()
print(f"dropped {handler.dropped}", flush=True)
sys.stdin.readline()
logging.info("read at last")
sys.exit(code)
""")
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=write_fd, text=True)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as log, process:
        lines = []
        while not (lines and lines[-1].startswith("dropped ")):
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended before it said how much was dropped"
        dropped = int(lines[-1].split()[1])
        first = os.read(log.fileno(), 1 << 20)
        assert first.endswith(b"\n")
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdin.close()
        rest = log.read().decode().splitlines()
        assert process.wait(20) == 0
    assert sum('"event":"AfterFork"' in line for line in lines) == 3
    assert dropped > 14_000
    assert first.count(b"\n") + dropped >= 15_000
    assert rest[0].endswith(f"{dropped} log lines were dropped because stderr was not read")
    assert rest[1].endswith("read at last")


def test_a_socket_as_the_journal_has_it_is_not_waited_for_either():
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with reading, writing:
        handler = LineHandler(writing.fileno())
        for number in range(5000):
            handler.emit(record(f"{number} {'x' * 1000} end"))
        assert handler.dropped > 0
        reading.settimeout(10)
        got = b""
        while handler.dropped:
            got += reading.recv(1 << 20)
            handler.emit(record("after"))
        writing.shutdown(socket.SHUT_WR)
        while chunk := reading.recv(1 << 20):
            got += chunk
    lines = [line.partition(": ")[2] for line in got.decode().splitlines()]
    assert all(line.endswith((" end", "because stderr was not read", "after")) for line in lines)
    assert [int(line.split()[0]) for line in lines if line.endswith(" end")] == list(
        range(sum(line.endswith(" end") for line in lines))
    )
    handler.close()


def test_a_terminal_that_takes_half_a_line_gets_the_other_half_first():
    master, terminal = os.openpty()
    try:
        handler = LineHandler(terminal)
        for number in range(200):
            handler.emit(record(f"{number} {'x' * 1000} end"))
        assert handler.dropped > 0
        os.set_blocking(master, False)
        got, tries = b"", 0
        while handler.dropped or b"after" not in got:
            try:
                got += os.read(master, 1 << 20)
            except BlockingIOError:
                tries += 1
                assert tries < 10_000
                handler.emit(record("after"))
        lines = [line.partition(": ")[2] for line in got.decode().splitlines()]
        assert all(line.endswith((" end", "because stderr was not read", "after")) for line in lines[:-1])
        handler.close()
    finally:
        os.close(master)
        os.close(terminal)


def test_a_patient_writer_waits_on_a_stream_that_somebody_made_non_blocking():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    full = os.write(writing, b"." * (1 << 20))
    got = []
    with os.fdopen(reading, "rb") as log:
        reader = threading.Thread(target=lambda: got.append(log.read()))
        handler = LineHandler(writing, patient=True)
        threading.Timer(0.05, reader.start).start()
        for _ in range(300):
            handler.emit(record("x" * 1000))
        handler.close()  # it has opened the pipe once more
        os.close(writing)
        reader.join(20)
    assert handler.dropped == 0
    assert got[0][full:].count(b"\n") == 300


def test_a_text_within_the_limit_is_not_cut():
    assert cut("x" * 100, 100) == "x" * 100
    short = cut("begin" + "x" * 200 + "end", 100)
    assert len(short) <= 100
    assert short.startswith("begin")
    assert short.endswith("end")


def record(message):
    return logging.LogRecord("test", logging.INFO, __file__, 1, message, (), None)
