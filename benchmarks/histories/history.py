"""One random history: nodes of one group, one after the other, over a broker that outlives them; and its judgement."""

import random
from typing import Any

from benchmarks.histories.broker import Broker, Key, Record
from benchmarks.histories.fake_consumer import FakeConsumer
from benchmarks.histories.fake_producer import FakeProducer
from benchmarks.histories.journal import Broken, Journal
from benchmarks.histories.plan import FEATURES, app_of
from benchmarks.histories.primitives import EPOCH_S, Present
from benchmarks.histories.strands import Endless, Hang, Scheduler
from swarm_consumer._running.runtime import Runtime
from swarm_consumer.events import BatchStarted, DeadLettered, Event
from swarm_consumer.progress import Epitaph, ProgressMemory, Remembrance, Verdict

CALM_S = 40.0
"""How long a node without faults may take to handle and commit everything."""
DRAIN_S = 2.0
RETENTION_S = 7 * 86400
"""How long a topic keeps what it is given."""
MOST_STEPS = 60_000


class Node:
    """One process that runs the app."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.strand: Any = None
        self.code: int | None = None

    def run(self) -> None:
        """Be the main thread."""
        self.code = self.runtime.run()


class History:
    """The world of one seed."""

    def __init__(self, seed: int, without: frozenset[str] = frozenset(), traced: bool = False) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        share = rng.random() * 0.7
        self.features = frozenset(name for name in FEATURES if rng.random() < share) - without
        self.journal = Journal(traced)
        topics = ["t"] if rng.random() < 0.8 else ["t", "u"]
        count = 1 + int(rng.random() * 3)
        keys: list[Key] = [(topic, partition) for topic in topics for partition in range(count)]
        self.broker = Broker(rng, self.journal, keys)
        self.journal.logs = self.broker.logs
        # By the seed alone, so that all that was drawn before there were holes keeps its course.
        if seed % 7 in (2, 5) and "holes" not in without:
            self.features |= {"holes"}
            self.broker.holes = random.Random(seed)
        # So too what lives on after a process: a third of the histories have it.
        if seed % 3 == 1 and "memory" not in without:
            self.features |= {"memory"} | ({"crash"} - without)
            self.broker.notes = True
        self.memory = ProgressMemory(2, partitions=16) if self.has("memory") else None
        self.lives = random.Random(seed)
        self.life = (0, 0)
        self.scheduler = Scheduler(rng, rng.random() * 0.3, MOST_STEPS)
        self.transactional = self.has("transactions")
        self.per_message = self.transactional and self.has("per_message")
        self.transaction_marks = self.has("transaction_marks")
        self.manual = self.has("manual")
        self.bulk = self.has("bulk")
        self.clients: list[FakeConsumer] = []
        self.paused: list[Any] = []
        self.wanted_seeks: set[Key] = set()
        self.node: Node | None = None
        self.app = app_of(self, topics)

    def has(self, feature: str) -> bool:
        """Whether this history has a feature."""
        return feature in self.features

    def chance(self, feature: str, probability: float) -> bool:
        """Whether it happens now; never once faults are over."""
        return feature in self.features and not self.journal.calm and self.rng.random() < probability

    def moment(self) -> float:
        """Return how long a handler takes."""
        pick = self.rng.random()
        return 0.0 if pick < 0.4 else pick * 0.1 if pick < 0.9 or self.journal.calm else pick * 2

    def shape(self) -> str:
        """Return what a call of consume() is."""
        if self.chance("generator", 0.3):
            return "generator" if self.rng.random() < 0.5 else "async generator"
        if self.has("awaitable") and self.rng.random() < 0.3:
            return "awaitable"
        return "coroutine" if self.has("coroutine") and self.rng.random() < 0.7 else "sync"

    def forgiven(self, record: Record) -> bool:
        """Whether a mark of this record may be refused: its log has been cut since."""
        return self.broker.logs[record.key].rewound or record.covered != ""

    # -- what clients tell ---------------------------------------------------------------------------------------

    def joined(self, client: FakeConsumer) -> None:
        """A member came."""
        self._assign(client)

    def released(self, client: FakeConsumer, keys: list[Key]) -> None:
        """It let partitions go."""
        for key in keys:
            if self.broker.logs[key].owner is client:
                self.broker.logs[key].owner = None

    def left(self, client: FakeConsumer) -> None:
        """It went."""
        self.released(client, list(self.broker.logs))

    def letter_arrived(self, number: int, timestamp_ms: int) -> None:
        """A dead letter is at the broker: its message may be passed, if consume() has seen it."""
        record = self.broker.by_number[number]
        self.journal.note("letter", record.key, record.offset)
        if 0 < timestamp_ms < (EPOCH_S - RETENTION_S) * 1000:
            self.journal.note("letter expired at once")  # it is older than what its topic keeps
        elif record.handed:
            record.covered = record.covered or "diverted"

    def twice(self, record: Record) -> None:
        """An output is there a second time."""
        if self.transactional and not self.broker.logs[record.key].rewound:
            self.journal.breaks(
                Broken(f"the output of {record.key} offset {record.offset} was committed {record.visible} times")
            )

    def event(self, event: Event) -> None:
        """An event of the runtime."""
        if isinstance(event, BatchStarted):
            log = self.broker.logs[event.topic, event.partition]
            log.greatest_given = max(log.greatest_given, event.last_offset)
        if isinstance(event, DeadLettered) and event.dead_letter_topic is None:
            record = self.broker.logs[event.topic, event.partition].handed.get(event.offset)
            if record is not None:
                record.covered = record.covered or "dropped by a rule"
        self.journal.note(f"event {type(event).__name__}", *(() if self.journal.trace is None else (_told(event),)))

    # -- the course ----------------------------------------------------------------------------------------------

    def run(self) -> BaseException | None:
        """Run the history; return what it broke."""
        Present.scheduler = self.scheduler
        FakeConsumer.world = FakeProducer.world = self
        self.scheduler.spawn(self._course, "world", self)
        try:
            self.scheduler.run()
        except (Hang, Endless) as error:
            self.journal.broken = self.journal.broken or error
        finally:
            self.scheduler.finished = True
            self._bury()
            self.scheduler.end()
            if self.memory is not None:
                self.memory.close()
        return self.journal.broken

    def _course(self) -> None:
        rng = self.rng
        try:
            for log in self.broker.logs.values():
                log.append(int(rng.random() * 12))
                if self.has("error") or rng.random() < 0.1:
                    log.committed = log.low
            for _ in range(1 + int(rng.random() * 2.5)):
                self._session()
                if self.journal.broken is not None:
                    return
            self._session(last=True)
        except Broken as error:
            self.journal.breaks(error)
        except BaseException as error:
            if not self.scheduler.current.dying:  # type: ignore[union-attr]
                self.journal.breaks(error)
            raise
        finally:
            self.scheduler.finished = True

    def _session(self, last: bool = False) -> None:
        rng, journal = self.rng, self.journal
        journal.calm = last
        if last:
            self._heal()
        for failure in ("commit_failure", "delivery_failure", "transaction_failure"):
            if self.chance(failure, 0.5):
                setattr(self.broker, failure, rng.random() * 0.6)
        self._operate()
        runtime = Runtime(self.app, drain_timeout=DRAIN_S, memory=self._next_life())
        node = self.node = Node(runtime)
        node.strand = self.scheduler.spawn(node.run, "main", node)
        if not last:
            for _ in range(int(rng.random() * 12)):
                self.scheduler.block(rng.random() * rng.random() * 1.5)
                if node.strand.ended:
                    break
                self._act()
        calm = last or rng.random() < 0.4
        if calm and not node.strand.ended and not runtime._quiet_wanted:
            self._calm(node)
        if not node.strand.ended:
            if self.has("crash") and not last and rng.random() < 0.6:
                journal.note("crash")
                self._bury(Verdict.SUSPECT)
                return
            journal.note("stop")
            runtime.stop()
            until = self.scheduler.now + DRAIN_S + 4.0
            while not node.strand.ended and self.scheduler.now < until:
                self.scheduler.block(0.1)
            if not node.strand.ended:
                raise Broken(f"run() did not return after stop(): {self.scheduler.describe()}")
        if node.strand.error is not None:
            raise Broken(f"run() raised {node.strand.error!r}") from node.strand.error
        journal.note(f"exit code {node.code}")
        if last and node.code != 0:
            raise Broken(f"a stop without any fault returned {node.code}")
        self._bury()

    def _next_life(self) -> Remembrance | None:
        """Return the memory of the next process: of the same node id or another one."""
        if self.memory is None:
            return None
        self.life = self.lives.randrange(2), self.life[1] + 1
        return self.memory.of_life(*self.life)

    def _bury(self, verdict: Verdict = Verdict.IN_ORDER) -> None:
        """End what is left of the node, as the end of its process does."""
        if self.memory is not None and self.node is not None and self.lives.random() < 0.9:
            self.memory.epitaph(*self.life, Epitaph(verdict, "its process ended"))
        node, self.node = self.node, None
        for client in self.clients:
            client.dead = True
            self.left(client)
        for producer in self.broker.producers:
            producer.dead = True
        self.clients.clear()
        self.broker.producers.clear()
        self.paused.clear()
        self.wanted_seeks.clear()
        if node is not None and not self.scheduler.finished:
            self.scheduler.kill(node)

    def _calm(self, node: Node) -> None:
        """Let everything go well from now on: all must be handled and committed."""
        self.journal.calm = True
        self._heal()
        for log in self.broker.logs.values():
            log.append(1)
        until = self.scheduler.now + CALM_S
        again = self.scheduler.now + 2.0
        while self.scheduler.now < until:
            self.scheduler.block(0.1)
            if node.strand.ended or node.runtime.fatal_error() is not None or self.journal.broken is not None:
                return
            while self.paused:
                self.paused.pop().resume()
            self._reassign()
            if self.manual and self.scheduler.now > again:  # what was left unmarked waits for a later mark
                again += 2.0
                for log in self.broker.logs.values():
                    log.append(0 if log.done else 1)
            if all(log.done for log in self.broker.logs.values()):
                self.journal.note("calm")
                return
        left = ", ".join(
            f"{key[0]}[{key[1]}] is committed to {log.committed} of {log.high}"
            for key, log in self.broker.logs.items()
            if not log.done
        )
        partitions = [one for each in node.runtime._connections for one in each.partitions.by_key.values()]
        lanes = {lane.key: lane.state for partition in partitions for lane in partition.lanes}
        raise Broken(f"{CALM_S:g} s without any fault: {left}; {lanes}; {self.scheduler.describe()}")

    def _heal(self) -> None:
        broker = self.broker
        broker.commit_failure = broker.delivery_failure = broker.transaction_failure = 0.0
        broker.slow = min(broker.slow, 0.05)

    def _operate(self) -> None:
        """Do what an operator must: give a group of the policy "error" an offset that exists."""
        if self.has("error"):
            for log in self.broker.logs.values():
                if log.committed is None or not log.low <= log.committed <= log.high:
                    log.committed = log.low

    # -- what happens to nodes -----------------------------------------------------------------------------------

    def _act(self) -> None:
        """Let one thing happen."""
        rng, broker = self.rng, self.broker
        log = broker.logs[list(broker.logs)[int(rng.random() * len(broker.logs))]]
        client = next((one for one in self.clients if not one.closed), None)
        acts: list[Any] = ["append", "append", "reassign"]
        acts += [name for name in ("revoke", "lose", "truncate", "expire", "outage", "quiet") if self.has(name)]
        acts += [name for name in ("commit_failure", "delivery_failure", "transaction_failure") if self.has(name)]
        act = acts[int(rng.random() * len(acts))]
        if act not in ("append", "reassign"):
            self.journal.note(f"world {act}")
        if act == "append":
            log.append(1 + int(rng.random() * 8))
        elif act == "reassign":
            self._reassign()
        elif act in ("revoke", "lose") and client is not None and client.positions and client.member:
            keys = [key for key in client.positions if rng.random() < 0.6 or act == "lose"]
            if keys:
                client.order(act, keys)
                if act == "lose":
                    self.left(client)
            if rng.random() < 0.5:
                self.scheduler.block(rng.random() * 0.3)
                self._reassign()
        elif act == "truncate" and not self.transactional and log.records:
            log.truncate(log.low + int(rng.random() * len(log.records)))
        elif act == "expire" and not self.transactional:
            log.expire(log.low + int(rng.random() * len(log.records)))
        elif act == "outage":
            broker.outage(rng.random() * 2.0)
        elif act == "quiet" and self.node is not None and rng.random() < 0.3:
            self.node.runtime.quiet()
        elif act.endswith("failure"):
            setattr(broker, act, 0.0 if getattr(broker, act) else rng.random())

    def _reassign(self) -> None:
        for client in self.clients:
            if not client.closed:
                self._assign(client)

    def _assign(self, client: FakeConsumer) -> None:
        if not client.member:
            return
        free = [key for key, log in self.broker.logs.items() if log.owner is None]
        for key in free:
            self._peer(key)
            self.broker.logs[key].owner = client
        if free:
            client.order("assign", free)

    def _peer(self, key: Key) -> None:
        """Before a partition comes, another node may have had it and handled some of it."""
        log = self.broker.logs[key]
        if (
            self.broker.unstable(key)
            or not self.chance("peer", 0.5)
            or log.committed is None
            or not log.low <= log.committed < log.high
        ):
            return
        log.begin(log.committed, "another node's start")
        self.journal.note("peer")
        end = log.committed + 1 + int(self.rng.random() * (log.high - log.committed))
        for offset in range(log.committed, end):
            record = log.at(offset)
            record.covered = record.covered or "handled by another node"
            record.visible += 1
            if record.visible > 1:
                self.twice(record)
        log.commit(end, None, "another node")


def _told(event: Event) -> str:
    try:
        return str(event)
    except Exception:  # noqa: BLE001  some have no text
        return "(it has no text)"
