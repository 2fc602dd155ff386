"""One run: broker, proxy, swarm, producer and ledger put together, the schedule carried out, everything measured."""

import dataclasses
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.chaos import deaths, groups, judgement, processes
from benchmarks.chaos.audit import Audit
from benchmarks.chaos.canary import Canary
from benchmarks.chaos.faults import Injected, Scene, inject
from benchmarks.chaos.keeper import ORPHANS_GONE_S, End, Keeper
from benchmarks.chaos.ledger import Account, Bound, Ledger
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.producer import SteadyProducer
from benchmarks.chaos.proxy import ProxyProcess
from benchmarks.chaos.records import BatchBegun, Continued, Handled, Misbehaved, NoteRefused, parse
from benchmarks.chaos.sample import Sample
from benchmarks.chaos.schedule import JOIN_S, Fault, Times, faults
from swarm_consumer.testing import KafkaBroker, read_all

GIVE_UP_S = 90.0
"""A recovery that takes so much longer than its bound ends the run."""
COMMIT_SLACK_S = 2.0
"""What storing, the way to the broker and a busy machine may add to the interval between two commits."""
MEMORY_LIMIT_MB = 200
MAX_DEATHS = 3
"""That of `app.py`."""
OTHERS_HEAR_S = 5.0
"""Under group.protocol=consumer members hear of a change at their next heartbeat, which the broker sets."""
HELD_MESSAGES = 500
"""What a cut-off owner may have at hand: four batches of 100, and the one at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    minutes: float
    seed: int
    nodes: int = 3
    partitions: int = 8
    keys: int = 64
    rate: float = 400.0
    protocol: str = "classic"
    static: bool = False
    """With a group.instance.id of the user's."""
    membership: str = "auto"
    memory: str = "auto"
    """auto, off, or file: one in /dev/shm, which outlives the supervisor."""
    lies: bool = False
    """What nodes recall is often not what was noted."""
    only: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    times: Times = field(default_factory=Times)
    kafka: tuple[str, ...] = ()
    """More properties of the swarm's clients, as name=value."""

    @property
    def kept(self) -> bool:
        """Whether notes outlive their node, and are what it wrote."""
        return self.memory != "off" and not self.lies

    @property
    def static_ids(self) -> bool:
        """Whether nodes are static members."""
        automatic = self.membership == "auto" and self.protocol == "classic"
        return self.static or self.membership == "static" or automatic

    def waits(self) -> Times:
        """Return the times with what partitions of a member that died wait for.

        A static member of a classic group comes back. All others are evicted by the successor, which reads their
        member ids in the notes; without notes they wait for the end of the session.
        """
        if self.protocol == "classic" and self.static_ids:
            return Times()
        session_s = Times().session_timeout
        if self.memory == "off" or self.lies:
            return Times(away=session_s + JOIN_S)
        return Times(away=OTHERS_HEAR_S + JOIN_S, unnamed=session_s)


@dataclass(slots=True)
class Outcome:
    """Everything that was seen of a run."""

    plan: Plan
    started: float
    ended: float
    faults: list[Injected]
    account: Account
    samples: list[Sample]
    ends: list[End]
    exit_code: int
    exits: Counter[str]
    produced_per_s: Counter[int]
    handled_per_s: Counter[int]
    lag: dict[int, int]
    """Second -> records that were produced and not yet handled by anybody."""
    problems: list[str]
    """Everything besides the account that must not be."""
    verdicts: list[deaths.Verdict] = field(default_factory=list)
    """What each death of a node cost."""
    slowness: float | None = None
    """How much slower than an idle one the machine was on average; None: unknown."""
    audit: Audit = field(default_factory=Audit)
    """The account of the second group."""
    broker_errors: Counter[str] = field(default_factory=Counter)
    """What the broker itself logged as errors, without numbers: a starved one may lose the state of its groups."""


class Run:
    """Puts everything together; `carry_out` does it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        # With group.protocol=classic librdkafka commits nothing while it waits for the answer to JoinGroup, and that
        # comes when a member that vanished is back, or its session is over.
        rebalance_s = plan.times.rejoin if plan.protocol == "classic" else 0.0
        self.ledger = Ledger(Bound(plan.times.commit_interval + rebalance_s + COMMIT_SLACK_S, HELD_MESSAGES))
        self.audit = Audit()
        self.lock = threading.Lock()
        self.faults: list[Injected] = []
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self.handled_per_s: Counter[int] = Counter()
        self.produced_per_s: Counter[int] = Counter()
        self.lag: dict[int, int] = {}
        self._waiting: list[Injected] = []
        self._misbehaved: dict[int, float] = {}
        self._poisoned: list[tuple[float, int]] = []
        self._killers: set[tuple[int, int]] = set()
        self._letters_asked = 0.0
        self._canary = Canary()
        self._notes = Path("/dev/shm") / f"chaos-{uuid.uuid4().hex[:8]}.progress"
        self._unique = uuid.uuid4().hex[:8]
        self._ending = threading.Event()
        self._started = time.monotonic()

    def carry_out(self) -> Outcome:
        """Do it, from the broker's start to the last process that has gone."""
        plan = self.plan
        topic, group = f"chaos-{self._unique}", f"chaos-{self._unique}"
        # macOS-like long folders do not fit into a socket's path: the sockets get a short folder of their own.
        short = Path(tempfile.mkdtemp(prefix="chaos-"))
        properties = {"group.consumer.session.timeout.ms": int(1000 * plan.times.session_timeout)}
        with KafkaBroker(properties=properties) as broker:
            broker.create_topic(topic, plan.partitions)
            broker.create_topic(_dead(topic), 1)
            broker.create_topic(_killers(topic), 1)
            proxy = ProxyProcess(int(broker.bootstrap.rpartition(":")[2]))
            keeper = self._keeper(broker, proxy, topic, group, short)
            producer = SteadyProducer(
                broker.bootstrap, topic, plan.partitions, plan.keys, plan.rate, self.ledger, self.lock
            )
            threads = [
                threading.Thread(target=self._read_log, name="log", args=("handled.log", self._enter)),
                threading.Thread(target=self._read_log, name="audit", args=("audit.log", self.audit.enter)),
                threading.Thread(target=self._watch_commits, args=(broker.bootstrap, group, topic), name="commits"),
                threading.Thread(target=self._count, name="count"),
            ]
            try:
                self._canary.start()
                keeper.start()
                if not wait_until(lambda: len(keeper.running()) == plan.nodes, 60.0, 0.1):
                    raise RuntimeError(f"the swarm did not start:\n{keeper.log.read_text()[-3000:]}")
                self._producer = producer
                self._started = time.monotonic()
                for thread in threads:
                    thread.start()
                producer.start()
                scene = Scene(
                    keeper, broker, proxy, self.ledger, self.lock, plan.times, plan.nodes, short, group, topic,
                    self._member_properties(), self._has_misbehaved, self._given_poison,
                    lambda partition, offset: self._given_up(broker.bootstrap, _killers(topic), partition, offset),
                    lambda: list(producer.ends), plan.memory == "file" and plan.kept, MAX_DEATHS,
                )  # fmt: skip
                self._drive(scene)
                producer.finish(60.0)
                self._await_the_rest(keeper)
                self._settled(keeper)
                exit_code = keeper.stop(plan.times.stop + 30.0)
                self._read_letters(broker.bootstrap, _dead(topic))
                self._read_killers(broker.bootstrap, _killers(topic))
                time.sleep(0.3)  # the last lines of the log
            finally:
                self._ending.set()
                producer.finish(0.0)
                keeper.kill()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
                proxy.close()
                self._canary.close()
                self._notes.unlink(missing_ok=True)
                if broker.folder is not None:
                    shutil.copy(broker.folder / "kafka.log", self.folder)
                shutil.rmtree(short, ignore_errors=True)
        return self._outcome(keeper, producer, exit_code)

    # -- the run ---------------------------------------------------------------------------------------------------

    def _drive(self, scene: Scene) -> None:
        plan = self.plan
        if not wait_until(lambda: self._caught_up([0] * plan.partitions), 30.0):
            raise RuntimeError("the swarm handled nothing at first")
        self._settled(scene.keeper)
        end = self._started + 60.0 * plan.minutes
        for fault in self._faults():
            time.sleep(fault.pause_s)
            if time.monotonic() >= end:
                break
            injected = inject(fault, scene)
            with self.lock:
                injected.targets = list(self._producer.ends)
                self.faults.append(injected)
                self._waiting.append(injected)
            self._say(injected)
            if fault.hasty and not injected.trouble:
                continue
            if not self._recovered(injected):
                self.problems.append(f"{injected.kind}: no recovery at all; the run was given up")
                self._describe(scene)
                break
            if time.monotonic() < end:
                self._settled(scene.keeper)
        for injected in list(self._waiting):
            self._recovered(injected)  # one that never does is told by judgement.of_faults

    def _describe(self, scene: Scene) -> None:
        """Write down three times what the broker says of both groups: a state that does not move is stuck."""
        with (self.folder / "groups.txt").open("a") as told:
            for _ in range(3):
                at = time.monotonic() - self._started
                said = groups.described(scene.broker.bootstrap, [scene.group, f"{scene.group}-audit"])
                told.write(f"{at:.1f} s\n{said}\n")
                self._ending.wait(5.0)

    def _faults(self) -> Iterator[Fault]:
        return faults(self.plan.seed, self.plan.only, asked=self.plan.asked, notes=self.plan.kept)

    def _recovered(self, injected: Injected) -> bool:
        return bool(wait_until(lambda: injected.recovered_at, injected.bound_s + GIVE_UP_S))

    def _settled(self, keeper: Keeper) -> None:
        """Wait until all nodes run and nothing is under way, and note what the supervisor holds then."""

        def settled() -> list[int]:
            status = keeper.status()
            if status is None or status.rolling_restart or not status.running == status.wanted == len(status.nodes):
                return []
            if any(node.spare_pid for node in status.nodes):
                return []
            return [status.pid, *(node.pid for node in status.nodes if node.pid)]

        pids = wait_until(settled, 60.0, 0.1)
        if not pids:
            self.problems.append("the swarm did not settle within 60 s")
            return
        supervisor, *nodes = pids
        zombies = {pid for pid, state in processes.in_session(supervisor).items() if state == "Z"}
        if zombies:
            time.sleep(0.5)
            zombies &= {pid for pid, state in processes.in_session(supervisor).items() if state == "Z"}
        self.samples.append(
            Sample(
                at=time.monotonic(),
                pid=supervisor,
                descriptors=processes.descriptors(supervisor),
                threads=processes.threads(supervisor),
                resident_mb=processes.resident_mb(supervisor),
                zombies=len(zombies),
                node_descriptors=max(map(processes.descriptors, nodes), default=0),
                node_threads=max(map(processes.threads, nodes), default=0),
            )
        )

    def _await_the_rest(self, keeper: Keeper) -> None:
        def all_handled() -> bool:
            with self.lock:
                produced, handled = self.ledger.progress()
                return handled >= produced and not self.audit.missing(self.ledger.acknowledged())

        if not wait_until(all_handled, 60.0, 1.0):
            self.problems.append("60 s after the last fault some records were still not handled")

    def _caught_up(self, targets: list[int]) -> bool:
        with self.lock:
            return all(self.ledger.high(number) >= target for number, target in enumerate(targets))

    # -- what others tell ------------------------------------------------------------------------------------------

    def _read_log(self, name: str, enter: Callable[[str], None]) -> None:
        rest = ""
        with (self.folder / name).open() as log:
            while True:
                text = log.read(1 << 20)
                if not text:
                    if self._ending.is_set():
                        break
                    time.sleep(0.02)
                    continue
                *lines, rest = (rest + text).split("\n")
                with self.lock:
                    for line in lines:
                        enter(line)
                    self._note_recoveries()

    def _enter(self, line: str) -> None:
        match parse(line):
            case BatchBegun() as begun:
                self.ledger.batch(begun)
            case Handled() as done:
                self.ledger.handled(done)
                self.handled_per_s[int(done.at - self._started)] += 1
            case Misbehaved() as what:
                self._misbehaved[what.pid] = what.at
                if what.kind.startswith("poison="):
                    self._poisoned.append((what.at, what.pid))
            case Continued() as told:
                self.ledger.continues(told)
            case NoteRefused() as told:
                self.ledger.refuses(told)

    def _note_recoveries(self) -> None:
        for injected in list(self._waiting):
            if all(self.ledger.high(number) >= target for number, target in enumerate(injected.targets)):
                injected.recovered_at = time.monotonic()
                self._waiting.remove(injected)

    def _read_letters(self, bootstrap: str, topic: str) -> None:
        """Enter every dead letter, by where it came from."""
        for record in read_all(bootstrap, topic):
            headers = dict(record.headers)
            place = headers.get("swarm-source-partition"), headers.get("swarm-source-offset")
            with self.lock:
                self.audit.letter(*(int(text or -1) for text in place))

    def _given_poison(self, since: float) -> list[int]:
        with self.lock:
            return [pid for at, pid in self._poisoned if at >= since]

    def _given_up(self, bootstrap: str, topic: str, partition: int, offset: int) -> bool:
        """Whether a record is a dead letter. Asked at most twice a second: each time all letters are read."""
        with self.lock:
            self._killers.add((partition, offset))
        if time.monotonic() - self._letters_asked < 0.5:
            return False
        self._read_killers(bootstrap, topic)
        self._letters_asked = time.monotonic()
        with self.lock:
            return (partition, offset) in self.ledger.letters

    def _read_killers(self, bootstrap: str, topic: str) -> None:
        """Enter every record that was given up because processes died with it; no other may be."""
        for record in read_all(bootstrap, topic):
            headers = dict(record.headers)
            place = (int(headers.get("swarm-source-partition") or -1), int(headers.get("swarm-source-offset") or -1))
            with self.lock:
                known = place in self.ledger.letters
                self.ledger.lettered(*place)
                if place not in self._killers and not known:
                    self.problems.append(f"partition {place[0]} offset {place[1]} kills no process and was given up")
                error = (headers.get("swarm-error") or b"").decode(errors="replace")
                if not known and "NodeDied" not in error:
                    self.problems.append(f"partition {place[0]} offset {place[1]} is a dead letter with {error!r}")

    def _has_misbehaved(self, pid: int, since: float) -> bool:
        with self.lock:
            return self._misbehaved.get(pid, 0.0) >= since

    def _watch_commits(self, bootstrap: str, group: str, topic: str) -> None:
        # A consumer that never subscribes does not join the group.
        observer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
        asked = [TopicPartition(topic, number) for number in range(self.plan.partitions)]
        while not self._ending.wait(0.25):
            try:
                answer = observer.committed(asked, timeout=2.0)
            except KafkaException:
                continue  # no broker at the moment
            with self.lock:
                for one in answer:
                    if one.error is None and one.offset >= 0:
                        self.ledger.committed(one.partition, one.offset, time.monotonic())
        observer.close()

    def _count(self) -> None:
        before = 0
        while not self._ending.wait(0.2):
            total = sum(self._producer.ends)
            second = int(time.monotonic() - self._started)
            self.produced_per_s[second] += total - before
            before = total
            with self.lock:
                produced, handled = self.ledger.progress()
            self.lag[second] = produced - handled

    # -- making things ---------------------------------------------------------------------------------------------

    def _keeper(self, broker: KafkaBroker, proxy: ProxyProcess, topic: str, group: str, short: Path) -> Keeper:
        plan, times = self.plan, self.plan.times
        log, audit = self.folder / "handled.log", self.folder / "audit.log"
        log.touch()
        audit.touch()
        kafka = {
            **broker.client_settings("consumer" if plan.protocol == "consumer" else "classic"),
            **self._member_properties(),
            "max.poll.interval.ms": int(1000 * times.max_poll_interval),
        }
        # A test has short sessions; here they are as long as by default, so that each wait for one is seen.
        for name in ("bootstrap.servers", "session.timeout.ms", "heartbeat.interval.ms"):
            kafka.pop(name, None)
        arguments = [
            "swarm", "benchmarks.chaos.two_groups:app", "--nodes", str(plan.nodes),
            "--bootstrap-servers", f"127.0.0.1:{proxy.port}",
            "--memory-limit", str(MEMORY_LIMIT_MB),
            *(part for name, value in kafka.items() for part in ("--kafka", f"{name}={value}")),
            *(part for setting in plan.kafka for part in ("--kafka", setting)),
        ]  # fmt: skip
        for name in (
            "liveness_interval", "node_report_timeout", "boot_timeout", "drain_timeout", "shutdown_timeout",
            "node_restart_delay", "consuming_ttl",
        ):  # fmt: skip
            arguments += [f"--{name.replace('_', '-')}", str(getattr(times, name))]
        if plan.static:
            arguments += ["--group-instance-id", "chaos"]
        if plan.membership != "auto":
            arguments += ["--membership", plan.membership]
        if plan.memory != "auto":
            arguments += ["--progress-memory", "off" if plan.memory == "off" else str(self._notes)]
        environment = {
            "CHAOS_LOG": str(log),
            "CHAOS_ORDERS": str(short),
            "CHAOS_TOPIC": topic,
            "CHAOS_GROUP": group,
            "CHAOS_AUDIT_LOG": str(audit),
            "CHAOS_AUDIT_GROUP": f"{group}-audit",
            "CHAOS_DEAD_TOPIC": _dead(topic),
            "CHAOS_KILLED_TOPIC": _killers(topic),
            "CHAOS_LIES": str(plan.seed) if plan.lies else "",
            "SWARM_RESTART_DELAY_MAX": str(times.restart_delay_max),
            "SWARM_STABLE_AFTER": str(times.stable_after),
        }
        return Keeper(arguments, environment, self.folder, short / "control.sock")

    def _member_properties(self) -> dict[str, str]:
        if self.plan.protocol == "consumer":
            return {"group.protocol": "consumer"}
        return {
            "max.poll.interval.ms": str(int(1000 * self.plan.times.max_poll_interval)),
            "partition.assignment.strategy": "cooperative-sticky",
        }

    def _say(self, injected: Injected) -> None:
        at = injected.started - self._started
        print(f"{at:7.1f} s  {injected.kind:<17} {injected.trouble or injected.detail}", flush=True)

    # -- judging ---------------------------------------------------------------------------------------------------

    def _outcome(self, keeper: Keeper, producer: SteadyProducer, exit_code: int) -> Outcome:
        died = deaths.deaths_of(keeper.events)
        for death in died:
            self.ledger.died(death.pid, death.at, kept=self.plan.kept)
        account = self.ledger.account()
        problems = self.problems
        ended = time.monotonic()
        judged = deaths.verdicts(
            died, account.silences, self.faults, join_s=self.plan.times.away, slowness=self._canary.slowness
        )
        problems += deaths.problems(judged)
        if producer.failures or producer.unacknowledged:
            problems.append(f"the producer failed: {producer.unacknowledged} unacknowledged, {producer.failures[:3]}")
        if exit_code != 0:
            problems.append(f"the last supervisor ended with exit code {exit_code}")
        for end in keeper.ends:
            if end.code not in (0, -9):
                problems.append(f"supervisor {end.pid} ended with exit code {end.code}")
            slower = self._canary.slowness(end.at - 0.5, end.at + ORPHANS_GONE_S) or 1.0
            if end.orphans_s > ORPHANS_GONE_S * slower:
                problems.append(f"nodes of supervisor {end.pid} outlived it by {end.orphans_s:.2f} s")
            if end.left:
                problems.append(f"orphans of supervisor {end.pid} had to be killed: {end.left}")
        problems += self.audit.problems(self.ledger.acknowledged(), hooks=not self.plan.only)
        problems += judgement.of_faults(self.faults)
        problems += judgement.of_silences(account.silences, self.faults, self._started)
        problems += judgement.of_samples(self.samples)
        exits = Counter(
            f"{'planned' if event['planned'] else 'unplanned'}: {_shape(event['reason'])}"
            for event in keeper.events
            if event.get("event") == "NodeExited"
        )
        return Outcome(
            plan=self.plan, started=self._started, ended=ended, faults=self.faults, account=account,
            verdicts=judged, slowness=self._canary.slowness(self._started, ended),
            samples=self.samples, ends=keeper.ends, exit_code=exit_code, exits=exits,
            produced_per_s=self.produced_per_s, handled_per_s=self.handled_per_s, lag=self.lag, problems=problems,
            audit=self.audit, broker_errors=broker_errors(self.folder / "kafka.log"),
        )  # fmt: skip


def _dead(topic: str) -> str:
    """The dead-letter topic of the second group."""
    return f"{topic}-dead"


def _killers(topic: str) -> str:
    """Where records go with which processes died."""
    return f"{topic}-killers"


def broker_errors(log: Path) -> Counter[str]:
    """Return the errors in a broker's log, without their numbers, with how often each was logged."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return Counter()
    said = [line.partition(" ERROR ")[2].partition(" - ")[2] for line in lines if " ERROR " in line]
    return Counter(_shape(text, 200) for text in said)


def _shape(reason: str, longest: int = 110) -> str:
    """A reason without its numbers, so that like ones can be counted."""
    words = "".join("#" if letter.isdigit() else letter for letter in reason.partition("\n")[0])
    while "##" in words:
        words = words.replace("##", "#")
    return words.replace("#.#", "#")[:longest]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as values that JSON knows."""
    plan = dataclasses.asdict(outcome.plan)
    plan |= {name: sorted(plan[name]) for name in ("only", "asked")}
    account = dataclasses.asdict(outcome.account)
    account["silences"] = account["silences"][:50]
    return {
        "plan": plan,
        "duration_s": outcome.ended - outcome.started,
        "faults": [dataclasses.asdict(injected) for injected in outcome.faults],
        "account": account,
        "samples": [dataclasses.asdict(sample) for sample in outcome.samples],
        "supervisor_ends": [dataclasses.asdict(end) for end in outcome.ends],
        "exit_code": outcome.exit_code,
        "exits_by_reason": dict(outcome.exits.most_common()),
        "produced_per_s": [outcome.produced_per_s[second] for second in range(int(outcome.ended - outcome.started))],
        "handled_per_s": [outcome.handled_per_s[second] for second in range(int(outcome.ended - outcome.started))],
        "lag": [outcome.lag.get(second, 0) for second in range(int(outcome.ended - outcome.started))],
        "second_group": {
            "written": outcome.audit.written,
            "repeated": outcome.audit.repeated,
            "letters": len(outcome.audit.letters),
            "hooks": dict(outcome.audit.hooks),
        },
        "deaths": [dataclasses.asdict(verdict) for verdict in outcome.verdicts],
        "slowness": outcome.slowness,
        "problems": outcome.problems,
        "broker_errors": dict(outcome.broker_errors.most_common()),
    }
