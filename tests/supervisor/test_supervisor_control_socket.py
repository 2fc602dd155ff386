"""The control socket and what hostile clients can do to it: nothing."""

import contextlib
import json
import os
import signal
import socket
import stat
import time

import pytest

from swarm_supervisor import ControlClient, ControlError, Supervisor
from swarm_supervisor.settings import SettingsError

SCRIPT = 'sys.exit(supervise(beat, nodes=2, control_socket="c.sock").run())'


@pytest.fixture
def swarm(start):
    swarm = start(SCRIPT)
    swarm.running(2)
    return swarm


@pytest.fixture
def connect(tmp_path):
    with contextlib.ExitStack() as stack:

        def connect():
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.settimeout(10.0)
            sock.connect(str(tmp_path / "c.sock"))
            return sock

        yield connect


def answer(sock):
    data = b""
    while not data.endswith(b"\n"):
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
    return [json.loads(line) for line in data.splitlines()]


def test_only_the_owner_may_use_it_and_it_goes_with_the_supervisor(swarm, tmp_path):
    path = tmp_path / "c.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused_even_if_the_mode_lets_him_in(swarm, tmp_path):
    path = tmp_path / "c.sock"
    path.chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    import subprocess
    import sys

    code = (
        "import os,socket,sys; os.setgid(65534); os.setuid(65534); s=socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1]); print(s.recv(1000).decode())"
    )
    answered = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=20)
    assert "user 65534 may not control this swarm" in answered.stdout, answered.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\xff\xfe\x00garbage", "this is not a request"),
        (b"[]", "this is not a request"),
        (b"{}", "command"),
        (b'{"command": 5}', "command"),
        (b'{"command": "dance"}', "unknown command 'dance'"),
        (b'{"command": "scale"}', 'needs "nodes"'),
        (b'{"command": "scale", "nodes": 0}', "at least 1"),
        (b'{"command": "scale", "nodes": 100000000}', "at most 4096"),
        (b'{"command": "restart", "node": 77}', "there is no node 77"),
        (b'{"command": "trace", "node": 77}', "there is no node 77"),
        (b'{"command": "status", "surprise": 1}', "surprise"),
        (b"[" * 5000, "this is not a request"),
    ],
)
def test_a_bad_request_gets_a_sentence_and_the_connection_goes_on(swarm, connect, line, words):
    sock = connect()
    sock.sendall(line + b"\n")
    (response,) = answer(sock)
    assert response["ok"] is False
    assert words in response["error"]
    sock.sendall(b'{"command": "status"}\n')
    assert answer(sock)[0]["ok"] is True


def test_a_request_without_an_end_is_bounded(swarm, connect):
    sock = connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(b"x" * 1_000_000)
    with contextlib.suppress(ConnectionResetError):
        assert answer(sock)[0]["ok"] is False
    assert connect_works(connect)


def connect_works(connect):
    sock = connect()
    # One that is refused is told so and closed at once, perhaps before it has asked.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(b'{"command": "status"}\n')
        return answer(sock)[0]["ok"]
    return False


def test_many_requests_at_once_half_a_line_and_silence_hold_up_nobody(swarm, connect):
    half, silent, many = connect(), connect(), connect()
    half.sendall(b'{"command": "sta')
    many.sendall(b'{"command": "status"}\n' * 20)
    os.kill(swarm.all("NodeRunning")[0]["pid"], signal.SIGKILL)
    swarm.wait_for("NodeRunning", lambda event: event["generation"] == 2)
    assert connect_works(connect)
    half.sendall(b'tus"}\n')
    assert answer(half)[0]["ok"] is True
    assert silent.fileno() >= 0


def test_a_client_that_says_nothing_for_ever_is_sent_away_and_a_subscriber_is_not(start, tmp_path, connect):
    swarm = start("""
import swarm_supervisor._control as control
control.IDLE_TIMEOUT_S = 0.5
sys.exit(supervise(beat, control_socket="c.sock").run())
""")
    node = swarm.running(1)[0]
    silent, half = connect(), connect()
    with ControlClient(tmp_path / "c.sock", timeout_s=10.0) as client:
        stream = client.subscribe()
        half.sendall(b'{"command": "sta')
        began = time.monotonic()
        assert silent.recv(100) == b""
        assert half.recv(100) == b""
        assert time.monotonic() - began < 5.0
        os.kill(node["pid"], signal.SIGKILL)
        assert next(event for event in stream if event["event"] == "NodeExited")["pid"] == node["pid"]


def test_clients_are_bounded(swarm, connect):
    socks = [connect() for _ in range(32)]
    for sock in socks:
        sock.sendall(b'{"command": "status"}\n')
        assert answer(sock)[0]["ok"] is True
    assert "32 clients" in answer(connect())[0]["error"]
    socks[0].close()
    swarm.wait_for("Controlled", start=len(swarm.events))
    deadline = time.monotonic() + 10.0
    while not connect_works(connect):
        assert time.monotonic() < deadline


def test_idle_clients_make_room_for_one_that_asks(start, connect):
    """All were refused until the idle ones were sent away, after 30 s: nobody could stop the swarm until then."""
    swarm = start("""
import swarm_supervisor._control as control
control.MAKES_ROOM_S = 0.5
sys.exit(supervise(beat, control_socket="c.sock").run())
""")
    swarm.running(1)
    follower = connect()
    follower.sendall(b'{"command": "subscribe"}\n')
    assert follower.recv(100)
    idle = [connect() for _ in range(31)]
    idle[0].sendall(b'{"command": "sta')
    deadline = time.monotonic() + 10.0
    while not connect_works(connect):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    follower.settimeout(0.0)
    with contextlib.suppress(BlockingIOError):
        assert follower.recv(100) != b"", "a subscriber that reads keeps its place"


def test_subscribers_that_read_nothing_do_not_lock_everybody_out(start, connect):
    """Followers that somebody has suspended (Ctrl-Z) kept their places for ever: nobody could stop the swarm."""
    swarm = start("""
import swarm_supervisor._control as control
control.IDLE_TIMEOUT_S = 1.0
supervisor = supervise(beat, nodes=2, control_socket="c.sock")
@supervisor.on(events.SignalReceived)
def flood(event):
    for number in range(3000):
        supervisor._listeners.tell(events.ErrorOccurred(at=0.0, where="flood", error="x" * 200))
    os.write(1, b'{"event": "Flooded"}\\n')
sys.exit(supervisor.run())
""")
    swarm.running(2)
    for _ in range(32):
        sock = connect()
        sock.sendall(b'{"command": "subscribe"}\n')
        assert sock.recv(100)
    assert "32 clients" in answer(connect())[0]["error"], "they may read yet"
    swarm.signal(signal.SIGTTIN)
    swarm.wait_for("Flooded")
    deadline = time.monotonic() + 30.0
    answered = False
    while not answered:
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):
            answered = connect_works(connect)
        time.sleep(0.1)  # between two questions: each is an event that the subscribers are sent


def test_a_subscriber_that_never_reads_costs_a_bound_and_is_told_what_it_missed(start, tmp_path):
    swarm = start("""
import swarm_supervisor._control as control
control.MAX_PENDING_BYTES = 20_000
supervisor = supervise(beat, nodes=2, control_socket="c.sock")
@supervisor.on(events.SignalReceived)
def flood(event):
    for number in range(3000):
        supervisor._listeners.tell(events.ErrorOccurred(at=0.0, where="flood", error="x" * 100))
    os.write(1, b'{"event": "Flooded"}\\n')
sys.exit(supervisor.run())
""")
    swarm.running(2)
    with ControlClient(tmp_path / "c.sock", timeout_s=10.0) as client:
        client.request("subscribe")
        swarm.signal(signal.SIGUSR2)
        swarm.wait_for("Flooded")
        kinds = []
        for event in client.events(10.0):
            kinds.append(event["event"])
            if event["event"] == "Dropped":
                assert event["count"] > 100
                break
        assert kinds.count("ErrorOccurred") < 3000
        assert kinds[-1] == "Dropped"


def test_a_stale_socket_is_replaced_and_one_in_use_is_not(start, tmp_path):
    first = start(SCRIPT)
    first.running(2)
    second = start(SCRIPT)
    assert second.end() == 1
    assert "is in use by a running supervisor" in second.stderr
    first.signal(signal.SIGKILL)
    first.process.wait(10)
    assert (tmp_path / "c.sock").exists()
    third = start(SCRIPT)
    third.running(2)
    with ControlClient(tmp_path / "c.sock") as client:
        assert client.status().pid == third.pid


def test_paths_that_cannot_be_used(tmp_path):
    long = tmp_path / ("x" * 120)
    with pytest.raises(SettingsError, match="at most 107"):
        Supervisor(lambda node: 0, control_socket=long).run()
    plain = tmp_path / "file"
    plain.write_text("mine")
    with pytest.raises(SettingsError, match="is not a socket"):
        Supervisor(lambda node: 0, control_socket=plain).run()
    assert plain.read_text() == "mine"


def test_client_errors_are_sentences(tmp_path):
    with pytest.raises(ControlError, match="no supervisor answers at"):
        ControlClient(tmp_path / "nobody.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "mute.sock"))
        listener.listen()
        with (
            ControlClient(tmp_path / "mute.sock", timeout_s=0.1) as client,
            pytest.raises(ControlError, match="did not answer in time"),
        ):
            client.status()


NOT_A_NUMBER = """
def target(node):
    from swarm_health import NodeStatistics
    node.report(NodeStatistics(rss_mb=float("inf"), extra={"loss": float("nan"), "good": 1}))
    return beat(node)

sys.exit(supervise(target, control_socket="c.sock").run())
"""


def test_a_node_that_reports_a_nan_hides_nobody(start, tmp_path):
    swarm = start(NOT_A_NUMBER)
    swarm.running(1)
    with ControlClient(tmp_path / "c.sock") as client:
        statistics = client.status().nodes[0].statistics
    assert statistics is not None
    assert (statistics.rss_mb, statistics.extra) == (None, {"good": 1})


def test_a_client_takes_null_among_the_extra_values_for_unknown(start, tmp_path):
    """As a supervisor of an earlier version sends it for a NaN."""
    swarm = start(NOT_A_NUMBER)
    swarm.running(1)
    with ControlClient(tmp_path / "c.sock") as client:
        snapshot = client.request("status")["snapshot"]
        snapshot["nodes"][0]["statistics"]["extra"]["loss"] = None
        client.request = lambda command: {"snapshot": snapshot}
        statistics = client.status().nodes[0].statistics
    assert statistics is not None
    assert statistics.extra == {"good": 1}


def test_commands_by_client(swarm, tmp_path):
    with ControlClient(tmp_path / "c.sock") as client:
        client.restart(1)
        swarm.wait_for("ReplacementFinished", lambda event: event["node_id"] == 1)
        with pytest.raises(ControlError, match="there is no node 9; the nodes are 0 to 1"):
            client.restart(9)
        client.quiet()
        swarm.wait_for("Quieting")
        client.stop()
    assert swarm.end() == 0


def test_pipelined_requests_fill_no_memory_and_are_all_answered(start, tmp_path):
    """A client that does not read its answers gets no more; a second client is answered meanwhile."""
    swarm = start("""
from swarm_health import NodeStatistics, PartitionStatistics
big = NodeStatistics(partitions=[PartitionStatistics("orders.eu.customers", n) for n in range(300)])
def target(node):
    node.report(big)
    return beat(node)
supervisor = Supervisor(target, nodes=1, control_socket="c.sock")      # tells nothing of reports: nobody reads here
supervisor.on(events.NodeRunning)(lambda event: os.write(1, encode_event(event) + b"\\n"))
sys.exit(supervisor.run())
""")
    swarm.running(1)

    def resident():
        with open(f"/proc/{swarm.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    from swarm_supervisor import ControlClient

    path = tmp_path / "c.sock"
    with ControlClient(path) as client:
        while not client.status().nodes[0].statistics.partitions:
            swarm.read(0.05)
    before = resident()
    count = 2000
    with socket.socket(socket.AF_UNIX) as greedy:
        greedy.connect(str(path))
        greedy.sendall(b'{"command":"status"}\n' * count)
        with ControlClient(path) as client:
            assert client.status().wanted == 1
        assert resident() - before < 30 * 2**20
        greedy.settimeout(20)
        answers = 0
        while answers < count:
            answers += greedy.recv(2**20).count(b"\n")
    with socket.socket(socket.AF_UNIX) as quick:
        quick.connect(str(path))
        quick.sendall(b'{"command":"dance"}\n' * 1000)  # small answers: more than one turn of the loop deals with
        quick.settimeout(20)
        answers = 0
        while answers < 1000:
            answers += quick.recv(2**16).count(b"\n")


def test_two_supervisors_that_start_at_once_do_not_both_take_a_stale_path(start, tmp_path):
    script = """
import socket
from swarm_supervisor import SettingsError
from swarm_supervisor import _control_path as control_path
wait = float(sys.argv[1])
unlink = Path.unlink
def slow(self, *arguments, **keywords):
    print('{"event": "Unlinking"}', flush=True)
    time.sleep(wait)
    return unlink(self, *arguments, **keywords)
Path.unlink = slow
try:
    code = supervise(beat, control_socket="c.sock").run()
except SettingsError as error:
    print(error, file=sys.stderr)
    os._exit(2)
sys.exit(code)
"""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "c.sock"))
    first = start(script, "1.0")
    first.wait_for("Unlinking")
    second = start(script, "0")
    assert second.end() == 2
    assert "is in use by a running supervisor" in second.stderr
    first.running(1)
    first.signal(signal.SIGTERM)
    assert first.end() == 0
