"""The slot of a swarm: one each for swarms at the same time, the same again for the next, and never waited for long."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm_cli import membership
from swarm_cli.settings import Settings

AUTO = Settings()


@pytest.fixture
def name() -> str:
    """A client id that nobody else on this machine uses."""
    return f"shop-{uuid.uuid4().hex[:12]}"


def prefix_of(settings: Settings, name: str, groups: tuple[str, ...] = ("orders",)) -> str | None:
    with membership.supervised(settings, name, dict.fromkeys(groups, "classic")) as ids:
        return None if ids is None else ids.prefix


def test_a_prefix_is_of_client_host_boot_and_slot(name: str) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    host = socket.gethostname()
    with membership.supervised(AUTO, name, {"orders": "classic"}) as ids:
        assert ids is not None
        assert ids.prefix == f"{name}.{host}.{boot}.0"
        assert (ids.protocols, ids.where) == (frozenset({"classic"}), "--membership auto")
        shown = membership.described(AUTO, name)
        assert shown is not None
        assert shown.prefix == f"{name}.{host}.{boot}.<slot>"


@pytest.mark.parametrize(
    ("mode", "wanted", "protocols"),
    [
        ("auto", ["classic"], {"classic"}),
        ("auto", ["classic", "consumer"], {"classic"}),
        ("auto", ["consumer"], None),
        ("auto", [], None),  # every group has an id of the user's
        ("static", ["consumer"], {"classic", "consumer"}),
        ("dynamic", ["classic"], None),
    ],
)
def test_who_gets_static_ids(name: str, mode: str, wanted: list[str], protocols: set[str] | None) -> None:
    with membership.supervised(Settings(membership=mode), name, {one: one for one in wanted}) as ids:
        assert (None if ids is None else set(ids.protocols)) == protocols
        if ids is None:  # then there is nothing to lock
            slot, lock = membership.take_slot([f"{membership._prefix(name)} classic"])
            lock.close()
            assert slot == 0


def test_swarms_at_the_same_time_have_slots_of_their_own_and_the_next_one_the_first_free(name: str) -> None:
    held = [membership.supervised(AUTO, name, {"orders": "classic"}) for _ in range(4)]
    prefixes = [one.__enter__().prefix for one in held]  # type: ignore[union-attr]
    assert [one.rpartition(".")[2] for one in prefixes] == ["0", "1", "2", "3"]
    held[1].__exit__(None, None, None)
    assert prefix_of(AUTO, name) == prefixes[1]
    assert prefix_of(AUTO, f"{name}-other") != prefixes[1]
    for one in (held[0], *held[2:]):
        one.__exit__(None, None, None)
    assert prefix_of(AUTO, name) == prefixes[0]


def test_swarms_of_other_groups_do_not_take_a_slot_from_each_other(name: str) -> None:
    """A swarm that is started again would else find its slot taken, and wait for the sessions of its own old ids."""
    assert prefix_of(AUTO, name, ("orders",)) == prefix_of(AUTO, name, ("parcels",))
    with membership.supervised(AUTO, name, {"parcels": "classic", "refunds": "classic"}):
        slots = {
            groups: (prefix_of(AUTO, name, groups) or "").rpartition(".")[2]
            for groups in [("orders",), ("parcels",), ("refunds",), ("orders", "refunds"), ("orders", "stock")]
        }
    # One id would be used twice in a group that two swarms have in common.
    assert slots == {
        ("orders",): "0", ("parcels",): "1", ("refunds",): "1", ("orders", "refunds"): "1", ("orders", "stock"): "0",
    }  # fmt: skip


def test_a_slot_that_is_not_free_in_every_group_is_left_wholly_free(name: str) -> None:
    refunds, both = {"refunds": "classic"}, {"orders": "classic", "refunds": "classic"}
    with membership.supervised(AUTO, name, refunds), membership.supervised(AUTO, name, both) as ids:
        assert ids is not None
        assert ids.prefix.endswith(".1")
        assert (prefix_of(AUTO, name, ("orders",)) or "").endswith(".0")


HOLDER = """
import os, sys, time
from swarm_cli import membership
slot, lock = membership.take_slot([sys.argv[1]])
if sys.argv[2] == "fork" and (child := os.fork()):
    print(slot, child, flush=True)
elif sys.argv[2] != "fork":
    print(slot, 0, flush=True)
time.sleep(600)
"""


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.wait(10)
        assert one.stdout is not None
        one.stdout.close()


def hold(holders: list[subprocess.Popen[str]], name: str, how: str = "alone") -> tuple[int, int]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, name, how], stdout=subprocess.PIPE, text=True)
    holders.append(process)
    assert process.stdout is not None
    slot, child = process.stdout.readline().split()
    return int(slot), int(child)


def end(process: subprocess.Popen[str]) -> None:
    """Kill it, and leave it as a zombie: dead is dead, whether its parent looks or not."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_eight_starts_at_the_same_moment_get_eight_slots(name: str, holders: list[subprocess.Popen[str]]) -> None:
    for _ in range(8):
        holders.append(
            subprocess.Popen([sys.executable, "-c", HOLDER, name, "alone"], stdout=subprocess.PIPE, text=True)
        )
    slots = []
    for one in holders:
        assert one.stdout is not None
        slots.append(int(one.stdout.readline().split()[0]))
    assert sorted(slots) == list(range(8))


def test_the_slot_of_a_killed_supervisor_is_free_once_its_last_node_has_gone(
    name: str, holders: list[subprocess.Popen[str]]
) -> None:
    """The next supervisor would else have other ids, and its nodes would wait for the sessions of the old ones."""
    slot, node = hold(holders, name, "fork")
    end(holders[0])
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:  # the node dies a moment later
        time.sleep(0.3)
        os.kill(node, signal.SIGKILL)
        os._exit(0)
    after, lock = membership.take_slot([name], 30.0)
    lock.close()
    os.waitpid(pid, 0)
    assert slot == after == 0
    assert 0.2 < time.monotonic() - began < 10


def test_a_wait_outlasts_the_queue_of_its_own_looks(name: str, holders: list[subprocess.Popen[str]]) -> None:
    """No one accepts them, so that the kernel soon refuses more. A node with much memory dies that slowly."""
    _, node = hold(holders, name, "fork")
    end(holders[0])
    address = membership.address_of(name, 0)
    looks = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
                visitor.setblocking(False)
                visitor.connect(address)
            looks += 1
            if looks == 1:
                assert membership._abandoned(address, before=False)
    print(f"the queue is full after {looks} looks")
    assert membership._abandoned(address, before=True)
    assert not membership._abandoned(address, before=False)
    assert looks > membership.LAST_NODE_S / membership.LOOK_S
    os.kill(node, signal.SIGKILL)


def test_a_node_that_does_not_die_is_not_waited_for_long(name: str, holders: list[subprocess.Popen[str]]) -> None:
    _, node = hold(holders, name, "fork")
    end(holders[0])
    try:
        began = time.monotonic()
        slot, lock = membership.take_slot([name], 0.3)
        lock.close()
        assert slot == 1
        assert 0.3 <= time.monotonic() - began < 10
    finally:
        os.kill(node, signal.SIGKILL)


def test_a_swarm_that_lives_is_not_waited_for_at_all(name: str, holders: list[subprocess.Popen[str]]) -> None:
    hold(holders, name)
    began = time.monotonic()
    slot, lock = membership.take_slot([name], 60.0)
    lock.close()
    assert slot == 1
    assert time.monotonic() - began < 10


def test_a_program_that_a_node_starts_does_not_hold_the_slot(name: str) -> None:
    slot, lock = membership.take_slot([name])
    program = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        lock.close()
        after, other = membership.take_slot([name])
        other.close()
        assert slot == after == 0
    finally:
        program.kill()
        program.wait(10)


def test_a_slot_that_somebody_bound_and_does_not_serve_is_passed_over(name: str) -> None:
    slot, lock = membership.take_slot([name])
    lock.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as squatter:
        squatter.bind(membership.address_of(name, slot))
        after, other = membership.take_slot([name], 0.2)
        other.close()
    assert (slot, after) == (0, 1)


def refused(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_without_a_socket_a_boot_id_a_host_or_a_free_slot_one_sentence_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING)

    def told() -> str:
        caplog.clear()
        with membership.supervised(AUTO, name, {"orders": "classic"}) as ids:
            assert ids is None
        (record,) = caplog.records
        assert "the nodes are dynamic members" in record.getMessage()
        assert "--membership dynamic ends this warning" in record.getMessage()
        return record.getMessage()

    with monkeypatch.context() as patch:
        patch.setattr(membership, "BOOT_ID", tmp_path / "none")
        assert "No such file" in told()
        assert membership.described(AUTO, name) is None
    with monkeypatch.context() as patch:
        patch.setattr(membership, "BOOT_ID", tmp_path / "empty")
        (tmp_path / "empty").write_text("\n")
        assert "no boot id" in told()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "")
        assert "the host has no name" in told()
    with monkeypatch.context() as patch:
        patch.setattr(membership, "MOST_SLOTS", 0)
        assert "run on this host already" in told()
    with monkeypatch.context() as patch:
        patch.setattr(membership.socket, "socket", refused)
        assert "Operation not permitted" in told()
    assert prefix_of(AUTO, name) is not None


def test_long_and_odd_names_give_ids_that_brokers_take(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from swarm_consumer import App

    monkeypatch.setattr(socket, "gethostname", lambda: "host." * 60 + "ü")
    client_id = name + "é " * 200
    app = App(client_id, {"bootstrap.servers": "nowhere:9092"})
    app.consume("orders", group="g" * 249)(lambda messages: None)
    with membership.supervised(AUTO, client_id, {"orders": "classic"}) as ids:
        assert ids is not None
        made = ids.of(app.subscription_groups()[0], 999_999)
    assert len(made) + 5 <= 249
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in made)


APP = """
from swarm_consumer import App
app = App("shop", {"bootstrap.servers": "127.0.0.1:1"})
app.consume("orders", group="classical")(lambda messages: None)
app.group("new", kafka={"group.protocol": "consumer"}).consume("orders")(lambda messages: None)
app.group("own", kafka={"group.instance.id": "rack"}).consume("orders")(lambda messages: None)
"""


def test_info_shows_the_ids_and_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)

    def shown(*arguments: str, **environment: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "swarm_cli", "info", "shop:app", "--json", *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=os.environ | environment, timeout=60, check=True,
        )  # fmt: skip
        groups = json.loads(done.stdout)["kafka"]
        return {name: properties.get("group.instance.id") for name, properties in groups.items()}

    own = {"value": "rack_<node>_own", "source": "app.group('own')"}
    prefix = f"shop.{socket.gethostname()}.{Path('/proc/sys/kernel/random/boot_id').read_text()[:8]}.<slot>"
    found = shown()
    assert isinstance(found["own"], dict)
    own = found["own"]
    assert own["value"] == "rack_<node>_own"
    classic = {"value": f"{prefix}_<node>_classical", "source": "--membership auto"}
    assert found == {"classical": classic, "new": None, "own": own}
    assert shown(SWARM_MEMBERSHIP="dynamic") == {"classical": None, "new": None, "own": own}
    static = shown("--membership", "static")
    assert static["new"] == {"value": f"{prefix}_<node>_new", "source": "--membership static"}
    (tmp_path / "swarm.toml").write_text('membership = "dynamic"\n')
    assert shown() == {"classical": None, "new": None, "own": own}
