"""A removal never takes longer than its time, leaves no thread, raises nothing, and says one line without secrets."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import threading
import time

import pytest

pytest.importorskip("kafka.admin", reason="the extra swarm-consumer[evict] is not installed")

from swarm_consumer._scheduling.remembrance import Member
from swarm_consumer.eviction import Evictor, access, missing, preload
from swarm_consumer.eviction.evictor import Removal

SLACK_S = 0.35  # for a machine that is busy
DEAD = [Member("orders", "member-1", None)]


class Given:
    def __init__(self, properties):
        self._properties = {"group.id": "orders", "client.id": "shop", **properties}

    def for_client(self):
        return dict(self._properties)

    def scrub(self, text):
        return text.replace("s3cret", "[redacted]")


def evictor(server, **properties):
    given = {"bootstrap.servers": server, **{name.replace("_", "."): value for name, value in properties.items()}}
    return Evictor({"orders": access(Given(given))})


@pytest.fixture(autouse=True, scope="module")
def imported():
    preload()


# The library lets go of a socket that did not connect; Python closes it, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    gc.collect()  # while those warnings are ignored
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(2.0)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.DEBUG)

    def lines():
        found = [record.getMessage() for record in caplog.records if record.name == "swarm_consumer.eviction"]
        assert not [record for record in caplog.records if record.name.startswith("kafka")]
        return found

    return lines


def timed(call, *arguments, **options):
    began = time.monotonic()
    assert call(*arguments, **options) is None
    return time.monotonic() - began


def own_threads(patience_s=1.0):
    """The threads of removals; one that was told to end has a moment for it, on a machine that is busy."""
    deadline = time.monotonic() + patience_s
    while True:
        names = [one.name for one in threading.enumerate() if one.name.startswith(("swarm-evict", "kafka-io"))]
        if not names or time.monotonic() > deadline:
            return names
        time.sleep(0.01)


@contextlib.contextmanager
def listener(*, backlog=8):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_a_dead_broker(said):
    with listener() as (_, address):
        pass  # the port is closed again
    assert timed(evictor(address), "orders", DEAD) < 1.0 + SLACK_S
    assert own_threads() == []
    (line,) = said()
    assert line.startswith("group orders: 1 member of processes that have ended could not be removed (")
    assert line.endswith("their partitions wait until their sessions end")
    assert "ECONNREFUSED" in line


@pytest.mark.parametrize("security", ["plaintext", "ssl", "sasl_plaintext"])
def test_a_broker_that_takes_the_connection_and_says_nothing(said, security):
    """The black hole behind a load balancer, and a handshake of TLS that hangs."""
    with listener() as (_, address):
        call = evictor(
            address, security_protocol=security, sasl_mechanisms="PLAIN", sasl_username="me", sasl_password="s3cret"
        )
        assert timed(call, "orders", DEAD) < 1.0 + SLACK_S
        assert own_threads() == []
    (line,) = said()
    assert "s3cret" not in line


def test_an_address_that_swallows_packets(said):
    with listener(backlog=0) as (server, address), contextlib.ExitStack() as fillers:
        for _ in range(4):  # the queue of the port is full: a further SYN gets no answer
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        assert timed(evictor(address), "orders", DEAD, within_s=0.5) < 0.5 + SLACK_S
        assert own_threads() == []
    assert len(said()) == 1


def test_nonsense_instead_of_an_answer(said):
    with listener() as (server, address):

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(4096)
                        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)

        thread = threading.Thread(target=answer)
        thread.start()
        assert timed(evictor(address), "orders", DEAD, within_s=0.6) < 0.6 + SLACK_S
        assert own_threads() == []
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert len(said()) == 1


def test_a_broker_that_the_library_does_not_understand_is_asked_once(said, embedded_broker):
    """The embedded broker refuses a version in a form of its own: a start on it waits for nothing."""
    assert timed(evictor(embedded_broker.bootstrap), "orders", DEAD) < 0.5
    assert own_threads() == []
    (line,) = said()
    assert "could not be removed (KafkaProtocolError" in line


def test_a_name_server_that_hangs_leaves_one_thread_at_most_and_that_ends_with_the_lookup(monkeypatch, said):
    answered = threading.Event()
    asked = []

    def hang(*arguments, **options):
        asked.append(arguments)
        answered.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    call = evictor("broker.invalid:9092")
    assert timed(call, "orders", DEAD, within_s=0.5) < 0.5 + SLACK_S
    left = own_threads(0.1)
    assert timed(call, "orders", DEAD, within_s=0.5) < 0.2  # it does not start another
    assert own_threads(0.0) == left
    assert len(asked) == 1
    answered.set()
    assert "still waits for a name server" in said()[1]
    # no_thread_is_left waits for the end of what is left


def test_a_callback_of_the_application_that_hangs(said):
    """Asked for a token only once a broker has answered, so this one hangs in the thread of the removal itself."""
    released = threading.Event()

    class Slow(Removal):
        def _ask(self):
            released.wait(20)
            raise ValueError("s3cret")

    given = access(Given({"bootstrap.servers": "127.0.0.1:1"}))
    call = Evictor({"orders": given})
    removal = Slow(given, DEAD, time.monotonic() + 0.3)
    began = time.monotonic()
    assert call._carry_out(removal, 0.4) == "no answer within 0.4 s"
    assert time.monotonic() - began < 0.4 + SLACK_S
    released.set()


def test_the_first_removal_of_a_process_has_time_to_load_the_library(monkeypatch, said, embedded_broker):
    """A successor loads it when it has a member to remove. On a busy machine that may take longer than the removal."""
    monkeypatch.setattr("swarm_consumer.eviction.evictor.preload", lambda: time.sleep(0.8))
    timed(evictor(embedded_broker.bootstrap), "orders", DEAD, within_s=0.6)
    (line,) = said()
    assert "KafkaProtocolError" in line  # so it has asked


def test_a_library_that_does_not_get_loaded_is_not_waited_for(monkeypatch, said):
    released = threading.Event()
    monkeypatch.setattr("swarm_consumer.eviction.evictor.preload", lambda: released.wait(20))
    monkeypatch.setattr("swarm_consumer.eviction.evictor.LOAD_S", 0.2)
    call = evictor("127.0.0.1:1")
    assert timed(call, "orders", DEAD, within_s=0.3) < 0.5 + SLACK_S
    (line,) = said()
    assert "could not be removed (kafka-python was not imported within 0.2 s)" in line
    assert timed(call, "orders", DEAD) < SLACK_S  # there is never more than one such thread
    released.set()


def test_a_library_that_cannot_be_loaded_is_a_sentence(monkeypatch, said):
    def fail():
        raise ImportError("no module named kafka")

    monkeypatch.setattr("swarm_consumer.eviction.evictor.preload", fail)
    assert timed(evictor("127.0.0.1:1"), "orders", DEAD) < SLACK_S
    assert "ImportError: no module named kafka" in said()[0]


def test_a_thread_that_cannot_be_started_is_a_sentence(monkeypatch, said):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert timed(evictor("127.0.0.1:1"), "orders", DEAD) < SLACK_S
    assert "can't start new thread" in said()[0]


def test_files_that_cannot_be_read_are_a_sentence(said):
    call = evictor("127.0.0.1:1", security_protocol="ssl", ssl_ca_location="/nowhere/ca.pem")
    assert timed(call, "orders", DEAD) < SLACK_S
    assert "/nowhere/ca.pem" in said()[0]


@pytest.mark.parametrize(
    ("group", "members", "within_s"),
    [
        ("another", DEAD, 1.0),
        ("orders", [], 1.0),
        ("orders", [Member("orders", "", "shop_1_orders")], 1.0),  # by the instance id alone: never
        ("orders", DEAD, 0.0),
        ("orders", DEAD, -1.0),
    ],
)
def test_nothing_to_do_asks_no_one(said, group, members, within_s):
    assert timed(evictor("127.0.0.1:1"), group, members, within_s=within_s) < 0.05
    assert said() == []


def test_a_log_that_raises_costs_nothing(monkeypatch):
    from swarm_consumer.eviction import evictor as module

    def broken(*arguments):
        raise ValueError("no log")

    monkeypatch.setattr(module.logger, "warning", broken)
    assert timed(evictor("127.0.0.1:1"), "orders", DEAD, within_s=0.3) < 0.3 + SLACK_S


def test_the_users_own_client_of_the_library_is_still_heard(said, caplog):
    assert timed(evictor("127.0.0.1:1"), "orders", DEAD, within_s=0.3) < 0.3 + SLACK_S
    said()
    logging.getLogger("kafka.net.manager").warning("of the application")
    assert "of the application" in caplog.text


class TestMissing:
    @pytest.mark.parametrize(
        ("version", "said"),
        [
            ("3.0.4", ""),
            ("3.0.12.post1", ""),
            ("3.1", ""),
            ("3.0.3", "kafka-python 3.0.3 is older than 3.0.4 (pip install 'swarm-consumer[evict]')"),
            ("10.0", ""),
            ("2.3.3", "kafka-python 2.3.3 is older than 3.0.4 (pip install 'swarm-consumer[evict]')"),
            ("strange", ""),
        ],
    )
    def test_the_version_decides(self, monkeypatch, version, said):
        from importlib import metadata

        monkeypatch.setattr(metadata, "version", lambda name: version)
        assert missing() == said

    def test_it_says_what_to_install(self, monkeypatch):
        from importlib import metadata

        def none(name):
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", none)
        assert missing() == "kafka-python is not installed (pip install 'swarm-consumer[evict]')"
