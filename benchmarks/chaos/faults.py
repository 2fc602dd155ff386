"""How each kind of fault is done, and how its effect is seen. A fault whose effect was not seen does not count."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos import processes
from benchmarks.chaos.keeper import ROOT, Keeper
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.proxy import ProxyProcess
from benchmarks.chaos.schedule import Fault, Times
from swarm_consumer.testing import KafkaBroker
from swarm_pidfd import Pidfd
from swarm_supervisor import NodeSnapshot

SEEN_WITHIN_S = 15.0
READ_WITHIN_S = 2.0
"""What is written to the log is known here by then."""
AHEAD = 50
"""How far ahead of the end of its partition a record that kills is, so that no batch with it has begun."""
START_S = 120.0
"""Longer than a broker takes to start."""
RECONNECT_S = 5.0
"""What clients may take to be back at the broker, once it can be reached."""


class NotSeen(Exception):
    """The effect of a fault was not seen; the text says what was waited for."""


@dataclass(slots=True)
class Injected:
    """One fault as it happened."""

    kind: str
    started: float
    seen_at: float = 0.0
    """When its effect was seen: 0 if it never was."""
    healed_at: float = 0.0
    """When its cause had ended; the recovery is counted from here."""
    recovered_at: float = 0.0
    detail: str = ""
    trouble: str = ""
    """What should have followed from the fault, and did not."""
    hasty: bool = False
    bound_s: float = 0.0
    targets: list[int] = field(default_factory=list)
    """The offset of each partition that must be handled for the recovery."""


@dataclass
class Scene:
    """Everything that a fault may be done to."""

    keeper: Keeper
    broker: KafkaBroker
    proxy: ProxyProcess
    ledger: Ledger
    lock: Any
    times: Times
    nodes: int
    orders: Path
    group: str
    topic: str
    member_properties: dict[str, str]
    misbehaved: Callable[[int, float], bool]
    """Whether the log tells that a process has misbehaved since a moment."""
    poisoned: Callable[[float], list[int]]
    """Which processes were given a record that kills, since a moment."""
    given_up: Callable[[int, int], bool]
    """Whether a record is a dead letter because processes died with it."""
    ends: Callable[[], list[int]]
    """The next offset of each partition."""
    notes_survive: bool
    """Whether the notes of nodes outlive their supervisor."""
    max_deaths: int

    def node(self, fault: Fault) -> NodeSnapshot:
        """Pick a node that runs."""
        found = wait_until(self.keeper.running, 60.0, 0.1)
        if not found:
            raise NotSeen("no node has been running for 60 s")
        return found[int(fault.target * len(found))]


def inject(fault: Fault, scene: Scene) -> Injected:
    """Do it, see that it was done, end it. NotSeen says what did not happen."""
    injected = Injected(fault.kind.name, time.monotonic(), hasty=fault.hasty)
    injected.bound_s = fault.kind.recovery_s(scene.times)
    try:
        _FAULTS[fault.kind.name](fault, scene, injected)
    except NotSeen as reason:
        if injected.seen_at:
            injected.trouble = str(reason)  # the fault was there, and what should follow from it was not
        else:
            injected.detail = f"not seen: {reason}"
    injected.healed_at = time.monotonic()
    return injected


def _seen(injected: Injected, detail: str = "") -> None:
    injected.seen_at = time.monotonic()
    injected.detail = detail


def _expect(condition: Callable[[], Any], what: str, timeout_s: float = SEEN_WITHIN_S) -> Any:
    value = wait_until(condition, timeout_s)
    if not value:
        raise NotSeen(f"{what} within {timeout_s:g} s")
    return value


def _send(pid: int, number: signal.Signals) -> None:
    try:
        with Pidfd(pid) as process:
            process.signal(number)
    except ProcessLookupError:
        raise NotSeen(f"pid {pid} had gone before") from None


# -- nodes -------------------------------------------------------------------------------------------------------------


def _node_kill(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = _pid(scene.node(fault))
    _send(pid, signal.SIGKILL)
    _expect(lambda: processes.gone(pid), f"pid {pid} gone")
    _seen(injected, f"pid {pid}")


def _node_term(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = _pid(scene.node(fault))
    _send(pid, signal.SIGTERM)
    _expect(lambda: processes.gone(pid), f"pid {pid} gone", scene.times.stop + SEEN_WITHIN_S)
    _seen(injected, f"pid {pid}")


@contextlib.contextmanager
def _stopped(pid: int, scene: Scene) -> Iterator[None]:
    with scene.lock:
        scene.ledger.stands_still(pid, time.monotonic())
    _send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(NotSeen):
            _send(pid, signal.SIGCONT)
        with scene.lock:
            scene.ledger.goes_on(pid, time.monotonic())


def _node_stop_short(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = _pid(scene.node(fault))
    with _stopped(pid, scene):
        _expect(lambda: processes.state(pid) == "T", f"pid {pid} in state T")
        _seen(injected, f"pid {pid} for {fault.hold_s:.1f} s")
        time.sleep(fault.hold_s)


def _node_stop_long(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = _pid(scene.node(fault))
    with _stopped(pid, scene):
        _expect(lambda: processes.state(pid) == "T", f"pid {pid} in state T")
        _seen(injected, f"pid {pid}")
        limit = scene.times.node_report_timeout + scene.times.stop + scene.times.slack
        _expect(lambda: processes.gone(pid), f"pid {pid} replaced by the supervisor", limit)
        injected.detail += f", gone after {time.monotonic() - injected.seen_at:.1f} s"


def _ordered(what: str, ends: bool) -> Callable[[Fault, Scene, Injected], None]:
    """An order to a handler: it must say that it has carried it out, and its process must end if it is to."""

    def order(fault: Fault, scene: Scene, injected: Injected) -> None:
        node = scene.node(fault)
        pid = _pid(node)
        path = scene.orders / str(node.id)
        draft = scene.orders / f"draft-{node.id}"
        draft.write_text(what)
        asked = time.monotonic()
        draft.rename(path)
        try:
            _expect(lambda: scene.misbehaved(pid, asked) or processes.gone(pid), f"pid {pid} told of {what}")
            # Whoever ends at once is gone before the last line it wrote has been read.
            if not wait_until(lambda: scene.misbehaved(pid, asked), READ_WITHIN_S):
                raise NotSeen(f"pid {pid} had gone before it got a batch")
        finally:
            path.unlink(missing_ok=True)
        _seen(injected, f"pid {pid}")
        if ends:
            seen = injected.seen_at
            _expect(lambda: processes.gone(pid), f"pid {pid} gone", injected.bound_s)
            injected.detail += f", gone after {time.monotonic() - seen:.1f} s"

    return order


def _poison(what: str) -> Callable[[Fault, Scene, Injected], None]:
    """A record that kills each process that is given it, until it is given up and everything else continues."""

    def kill_with_a_record(fault: Fault, scene: Scene, injected: Injected) -> None:
        ends = scene.ends()
        partition = int(fault.amount * len(ends))
        offset = ends[partition] + AHEAD
        path, draft = scene.orders / "poison", scene.orders / "draft-poison"
        draft.write_text(f"{partition} {offset} {what}")
        asked = time.monotonic()
        draft.rename(path)
        try:
            _expect(lambda: scene.poisoned(asked), f"partition {partition} offset {offset} handed out")
            _seen(injected, f"partition {partition} offset {offset}")
            _expect(lambda: scene.given_up(partition, offset), "a dead letter", injected.bound_s)
        finally:
            path.unlink(missing_ok=True)
        deaths = len(scene.poisoned(asked))
        injected.detail += f", given up after {deaths} deaths, {time.monotonic() - injected.seen_at:.1f} s"
        if deaths > scene.max_deaths:
            raise NotSeen(f"{deaths} processes died with it, max_deaths is {scene.max_deaths}")

    return kill_with_a_record


def _scribble(fault: Fault, scene: Scene, injected: Injected) -> None:
    # Every process that runs now writes to entries whose names may be destroyed.
    with scene.lock:
        scene.ledger.spoilt(_pid(node) for node in scene.keeper.running())
    _ordered(f"scribble={int(1e6 * fault.amount)}", ends=True)(fault, scene, injected)
    with scene.lock:
        scene.ledger.spoilt(_pid(node) for node in scene.keeper.running())


def _pid(node: NodeSnapshot) -> int:
    assert node.pid is not None
    return node.pid


# -- the supervisor ----------------------------------------------------------------------------------------------------


def _supervisor_kill(fault: Fault, scene: Scene, injected: Injected) -> None:
    starts = scene.keeper.starts
    nodes = [_pid(node) for node in scene.keeper.running()]
    pid = scene.keeper.signal(signal.SIGKILL)
    _expect(lambda: processes.gone(pid), f"supervisor {pid} gone")
    with scene.lock:
        for node in nodes:
            scene.ledger.died(node, time.monotonic(), kept=scene.notes_survive)
    _seen(injected, f"pid {pid}")
    _expect(lambda: scene.keeper.starts > starts, "a new supervisor")
    _expect(lambda: len(scene.keeper.running()) == scene.nodes, "all nodes of the new supervisor", 60)


def _supervisor_stop(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = scene.keeper.signal(signal.SIGSTOP)
    try:
        _expect(lambda: processes.state(pid) == "T", f"supervisor {pid} in state T")
        _seen(injected, f"pid {pid} for {fault.hold_s:.1f} s")
        time.sleep(fault.hold_s)
    finally:
        scene.keeper.signal(signal.SIGCONT)


def _rolling_restart(fault: Fault, scene: Scene, injected: Injected) -> None:
    before = {_pid(node) for node in scene.keeper.running()}
    scene.keeper.signal(signal.SIGUSR2)

    def replaced() -> bool:
        status = scene.keeper.status()
        if status is None or status.rolling_restart or status.running < status.wanted:
            return False
        return not before & {node.pid for node in status.nodes}

    limit = scene.nodes * (scene.times.stop + scene.times.boot_timeout)
    _expect(replaced, f"other processes than {sorted(before)}", limit)
    _seen(injected, f"{len(before)} nodes in {time.monotonic() - injected.started:.1f} s")


def _node_restart(fault: Fault, scene: Scene, injected: Injected) -> None:
    node = scene.node(fault)
    pid = _pid(node)
    if not scene.keeper.command(lambda client: client.restart(node.id)):
        raise NotSeen("there was no answer at the control socket")
    limit = scene.times.stop + scene.times.boot_timeout
    _expect(lambda: processes.gone(pid), f"pid {pid} gone", limit)
    _seen(injected, f"pid {pid}, gone after {time.monotonic() - injected.started:.1f} s")


def _scale(fault: Fault, scene: Scene, injected: Injected) -> None:
    other = scene.nodes + 1 if fault.amount < 0.5 else max(1, scene.nodes - 1)

    def is_scaled(nodes: int) -> bool:
        status = scene.keeper.status()
        return status is not None and status.wanted == status.running == len(status.nodes) == nodes

    def to(nodes: int) -> None:
        if not scene.keeper.command(lambda client: client.scale(nodes)):
            raise NotSeen("there was no answer at the control socket")
        _expect(lambda: is_scaled(nodes), f"{nodes} nodes", scene.times.stop + scene.times.boot_timeout)

    try:
        to(other)
        _seen(injected, f"{scene.nodes} to {other} nodes")
        time.sleep(fault.hold_s)
    finally:
        to(scene.nodes)


def _quiet_stop_start(fault: Fault, scene: Scene, injected: Injected) -> None:
    starts = scene.keeper.starts
    pid = scene.keeper.signal(signal.SIGTSTP)

    def is_quiet() -> bool:
        status = scene.keeper.status()
        return status is not None and status.state in ("quieting", "quiet")

    _expect(is_quiet, "quiet")
    time.sleep(fault.hold_s)
    scene.keeper.signal(signal.SIGTERM)
    _expect(lambda: processes.gone(pid), f"supervisor {pid} gone", scene.times.stop + SEEN_WITHIN_S)
    _seen(injected, f"pid {pid}")
    _expect(lambda: scene.keeper.starts > starts, "a new supervisor")
    _expect(lambda: len(scene.keeper.running()) == scene.nodes, "all nodes of the new supervisor", 60)


# -- the group, the broker, the network --------------------------------------------------------------------------------


def _foreign_member(fault: Fault, scene: Scene, injected: Injected) -> None:
    properties = [f"{name}={value}" for name, value in scene.member_properties.items()]
    command = ["-m", "benchmarks.chaos.foreign_member", scene.broker.bootstrap, scene.group, scene.topic, *properties]
    member = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert member.stdin is not None
    assert member.stdout is not None
    try:
        limit = scene.times.session_timeout + scene.times.max_poll_interval
        if not select.select([member.stdout], [], [], limit)[0] or b"assigned" not in os.read(
            member.stdout.fileno(), 4096
        ):
            raise NotSeen(f"partitions for the foreign member within {limit:g} s")
        _seen(injected, f"{fault.hold_s:.1f} s after {time.monotonic() - injected.started:.1f} s")
        time.sleep(fault.hold_s)
    finally:
        member.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            member.wait(10)
        member.kill()
        member.wait()
        member.stdout.close()


@contextlib.contextmanager
def _nothing_committed(scene: Scene) -> Iterator[None]:
    with scene.lock:
        scene.ledger.commits_stop(time.monotonic())
    try:
        yield
    finally:
        with scene.lock:
            scene.ledger.commits_resume(time.monotonic() + RECONNECT_S)


def _broker_kill(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = scene.broker.pid
    with _nothing_committed(scene):
        scene.broker.kill()
        try:
            _expect(lambda: pid is None or processes.gone(pid), f"broker {pid} gone")
            _seen(injected, f"pid {pid}")
            time.sleep(fault.hold_s)
        finally:
            with scene.lock:
                scene.ledger.broker_started(time.monotonic() + START_S)
            scene.broker.restart()
            with scene.lock:
                scene.ledger.broker_started(time.monotonic())
    injected.detail += f", answered again after {time.monotonic() - injected.seen_at:.1f} s"


def _broker_stop(fault: Fault, scene: Scene, injected: Injected) -> None:
    pid = scene.broker.pid
    assert pid is not None
    with _nothing_committed(scene):
        _send(pid, signal.SIGSTOP)
        try:
            _expect(lambda: processes.state(pid) == "T", f"broker {pid} in state T")
            _seen(injected, f"pid {pid} for {fault.hold_s:.1f} s")
            time.sleep(fault.hold_s)
        finally:
            _send(pid, signal.SIGCONT)


def _network_cut(fault: Fault, scene: Scene, injected: Injected) -> None:
    before = scene.proxy.command("status")["reset"]
    with _nothing_committed(scene):
        scene.proxy.command("cut")
        try:
            _expect(lambda: scene.proxy.command("status")["reset"] > before, "connections reset")
            _seen(injected, f"{fault.hold_s:.1f} s")
            time.sleep(fault.hold_s)
            injected.detail += f", {scene.proxy.command('status')['reset'] - before} connections reset"
        finally:
            scene.proxy.command("heal")


def _network_delay(fault: Fault, scene: Scene, injected: Injected) -> None:
    delay_s = 0.05 + 0.25 * fault.amount
    scene.proxy.command(f"delay {delay_s}")
    try:
        measured = scene.proxy.round_trip_s(5)
        if measured is None or measured < 2 * delay_s:
            raise NotSeen(f"a round trip of {2 * delay_s:.3f} s (measured {measured})")
        _seen(injected, f"{1000 * delay_s:.0f} ms for {fault.hold_s:.1f} s, round trip {1000 * measured:.0f} ms")
        time.sleep(fault.hold_s)
    finally:
        scene.proxy.command("heal")


def _network_stall(fault: Fault, scene: Scene, injected: Injected) -> None:
    with _nothing_committed(scene):
        scene.proxy.command("stall")
        try:
            if scene.proxy.round_trip_s(0.5) is not None:
                raise NotSeen("no answer through the proxy")
            _seen(injected, f"{fault.hold_s:.1f} s")
            time.sleep(fault.hold_s)
        finally:
            scene.proxy.command("heal")


_FAULTS: dict[str, Callable[[Fault, Scene, Injected], None]] = {
    "node-kill": _node_kill,
    "node-stop-short": _node_stop_short,
    "node-stop-long": _node_stop_long,
    "node-term": _node_term,
    "node-exit": _ordered("exit=7", ends=True),
    "record-segfault": _poison("segfault"),
    "record-hang": _poison("sleep"),
    "scribble": _scribble,
    "handler-hang": _ordered("hang", ends=True),
    "handler-raise": _ordered("raise", ends=False),
    "handler-long": _ordered("long=15", ends=True),
    "handler-leak": _ordered("leak", ends=True),
    "supervisor-kill": _supervisor_kill,
    "supervisor-stop": _supervisor_stop,
    "rolling-restart": _rolling_restart,
    "node-restart": _node_restart,
    "scale": _scale,
    "quiet-stop-start": _quiet_stop_start,
    "foreign-member": _foreign_member,
    "broker-kill": _broker_kill,
    "broker-stop": _broker_stop,
    "network-cut": _network_cut,
    "network-delay": _network_delay,
    "network-stall": _network_stall,
}
