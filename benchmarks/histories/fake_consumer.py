"""A stand-in for confluent_kafka.Consumer over the fake broker, with what librdkafka does by its own will.

- A revocation ends when every commit that was sent has been answered. Of its own will it commits nothing.
- Partitions that were paused stay paused over unassign and assign.
- A position outside of the log is reset by the policy, silently.
- Rebalances, commit reports and errors come inside poll() and consume().
"""

from collections import deque
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_STORED,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from benchmarks.histories.committing import Committing, Key, key_of
from benchmarks.histories.fetching import Fetching
from benchmarks.histories.primitives import Present

IDLE_S = 0.3
"""The longest stay inside poll() without anything to do."""
LEAST_S = 0.004
"""How long a call takes at least."""


class Metadata:
    """What a transaction commits offsets with: the member as it was."""

    def __init__(self, client: "FakeConsumer") -> None:
        self.client = client
        self.generation = client.generation


class FakeConsumer(Committing, Fetching):
    """One member of the group. Its assignment is ordered by the history, not by a coordinator."""

    world: Any = None  # the history that runs now

    def __init__(self, configuration: dict[str, Any], logger: Any = None) -> None:
        Committing.__init__(self)
        Fetching.__init__(self)
        self.broker = self.world.broker
        self.journal = self.broker.journal
        self.policy = configuration["auto.offset.reset"]
        self.eof = bool(configuration.get("enable.partition.eof"))
        assert configuration["enable.auto.commit"] is False, "of its own will it commits what is behind transactions"
        self.on_commit = configuration.get("on_commit")
        self.error_cb = configuration.get("error_cb")
        self.generation = 0
        self.member = True  # the broker still knows it
        self.closed = False
        self.dead = False  # its process was killed
        self.orders: deque[tuple[str, list[Key]]] = deque()
        self._sleeper: Any = None
        self._callbacks: dict[str, Any] = {}
        self.world.clients.append(self)

    # -- what the history orders ---------------------------------------------------------------------------------

    def order(self, what: str, keys: list[Key]) -> None:
        """Let a rebalance come at the next poll."""
        if what == "lose":
            self.orders.clear()
            self.member = False
            self.generation += 1
        self.orders.append((what, keys))
        self.stir()

    def stir(self) -> None:
        """End a wait inside poll()."""
        if self._sleeper is not None:
            Present.scheduler.wake(self._sleeper)

    # -- the client's own interface ------------------------------------------------------------------------------

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        """Join the group."""
        self._callbacks = {"assign": on_assign, "revoke": on_revoke, "lose": on_lost}
        self.world.joined(self)

    def poll(self, timeout: float = -1) -> Message | None:
        """Serve what came; return the next message."""
        self._enter()
        if self.reset:
            self._look_back()
        self._serve()
        message = self._next()
        if message is None:  # even poll(0) takes a moment: who turns without end gives others no time otherwise
            self._sleeper = Present.scheduler.current
            wait = self._until_due() if timeout < 0 else min(timeout, self._until_due())
            Present.scheduler.block(max(LEAST_S, wait))
            self._sleeper = None
            self._serve()
            message = self._next()
        return message

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Return messages that are there."""
        self._enter()
        if self.orders and self.world.rng.random() < 0.3:
            self._serve()
        messages: list[Message] = []
        while len(messages) < num_messages and (message := self._next()) is not None:
            messages.append(message)
        return messages

    def commit(
        self, message: Any = None, offsets: list[TopicPartition] | None = None, asynchronous: bool = True
    ) -> list[TopicPartition] | None:
        """Commit offsets."""
        self._enter()
        assert offsets, "stored offsets do not matter here"
        places = sorted(offsets, key=key_of)
        if asynchronous:
            self._send(places, "an explicit commit")
            return None
        self._land_all()
        if not self.broker.wait_until_up(5.0):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out"))
        Present.scheduler.block(self.broker.latency())
        error = self._land(places, self.generation, "a blocking commit", self._knowing())
        if error is not None:
            raise KafkaException(error)
        return places

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """Return what the broker has, after the commits that were sent before."""
        self._enter()
        self._ask(timeout)
        self._land_all()
        self._retry()
        if any(self.broker.unstable(key_of(place)) for place in partitions):  # until its transaction has ended
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out"))
        answer = []
        for place in partitions:
            log = self.broker.logs[key_of(place)]
            options: dict[str, Any] = {} if log.metadata is None else {"metadata": log.metadata}
            offset = -1001 if log.committed is None else log.committed
            answer.append(TopicPartition(*log.key, offset, **options))
        return answer

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Return the next offsets to be handed out."""
        self._enter()
        found = [(place, self.positions.get(key_of(place))) for place in partitions]
        return [TopicPartition(*key_of(place), -1001 if at is None else at) for place, at in found]

    def assignment(self) -> list[TopicPartition]:
        """Return the assigned partitions."""
        return [TopicPartition(*key) for key in self.positions]

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Hand out nothing of these."""
        self._enter()
        self._require(partitions)
        self.paused.update(map(key_of, partitions))
        self.journal.note("client.pause", *map(key_of, partitions))

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Hand out these again."""
        self._enter()
        self.paused.difference_update(map(key_of, partitions))
        self.journal.note("client.resume", *map(key_of, partitions))

    def seek(self, partition: TopicPartition) -> None:
        """Go on at another offset."""
        self._enter()
        self._require([partition])
        key = key_of(partition)
        log = self.broker.logs[key]
        offset = {OFFSET_BEGINNING: log.low, OFFSET_END: log.high}.get(partition.offset, partition.offset)
        self.journal.note("client.seek", key, offset)
        if key in self.world.wanted_seeks:  # the handler's wish: what it jumps over may be passed
            self.world.wanted_seeks.discard(key)
            log.cover_before(min(offset, log.high), "sought past")
            log.rewound = True
        self.positions[key] = offset
        self.told_end.pop(key, None)
        self.refused.discard(key)

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """Return the ends of a partition."""
        self._enter()
        if not cached:
            self._ask(timeout)
        log = self.broker.logs[key_of(partition)]
        return log.low, log.high

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        """Return the first offset at or after each time."""
        self._enter()
        self._ask(timeout)
        found = []
        for place in partitions:
            log = self.broker.logs[key_of(place)]
            if place.offset == OFFSET_END:
                found.append(TopicPartition(*log.key, log.high))
                continue
            later = (one.offset for one in log.records if one.message.timestamp()[1] >= place.offset)
            found.append(TopicPartition(*log.key, next(later, OFFSET_END)))
        return found

    def memberid(self) -> str:
        """Return the id that the coordinator gave."""
        self._enter()
        return f"member-{id(self):x}"

    def consumer_group_metadata(self) -> Metadata:
        """Return what a transaction needs."""
        self._enter()
        return Metadata(self)

    def unsubscribe(self) -> None:
        """Give everything back, at the next poll."""
        self._enter()
        if self.positions:
            self.order("revoke" if self.member else "lose", list(self.positions))

    def close(self) -> None:
        """Give everything back, commit, leave."""
        self._enter()
        for _ in range(10):
            if self.orders:
                self._serve()
            elif self.positions:
                self.order("revoke" if self.member else "lose", list(self.positions))
            else:
                break
        if self.broker.wait_until_up(2.0):
            self._land_all()
            self._retry(all_of_them=True)
        self.closed = True
        self.world.left(self)

    # -- inside --------------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        scheduler = Present.scheduler
        me = scheduler.current
        if me is not None and me.dying:
            scheduler.exit(me)
        if self.closed:
            raise RuntimeError("Consumer closed")
        scheduler.preempt()

    def _require(self, places: list[TopicPartition]) -> None:
        if any(key_of(place) not in self.positions for place in places):
            raise KafkaException(KafkaError(KafkaError._STATE, "Local: Erroneous state"))

    def _ask(self, timeout: float) -> None:
        if not self.broker.up and not self.broker.wait_until_up(5.0 if timeout < 0 else timeout):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out"))

    def _until_due(self) -> float:
        now = Present.scheduler.now
        due = now + IDLE_S
        if self._landing and self.broker.up:
            due = min(due, self._landing[0][0])
        if self._retrying and self.broker.up:
            due = min(due, *(at for at, *_ in self._retrying))
        return due - now

    def _serve(self) -> None:
        while self._landing and self.broker.up and self._landing[0][0] <= Present.scheduler.now:
            self._land_next()
        if self._retrying and self.broker.up:
            self._retry()
        while self._reports and self.on_commit is not None:
            self.on_commit(*self._reports.popleft())
        if self.orders:
            self._rebalance(*self.orders.popleft())

    def _rebalance(self, what: str, keys: list[Key]) -> None:
        if what == "assign":
            keys = [key for key in keys if key not in self.positions]
        elif what == "lose":
            keys = list(self.positions)
        else:
            keys = [key for key in keys if key in self.positions]
        self.journal.note(f"client.{what}", *keys)
        callback = self._callbacks[what]
        if keys and callback is not None:
            callback(self, [TopicPartition(*key) for key in sorted(keys)])
        if what == "assign":
            for key in keys:
                self._take(key, None)
            return
        if what == "revoke" and self.member:
            if (self._landing or self._retrying) and self.broker.wait_until_up(2.0):
                # One connection, in order: what was sent before arrives before anybody is told that they are free.
                self._land_all()
            if self.broker.up:  # the revocation ends when every commit is answered
                self._retry(all_of_them=True)
        for key in keys:
            self._give(key)
        if what == "lose":
            self.member = True  # it joins again
        self.world.released(self, keys)

    def _take(self, key: Key, offset: int | None) -> None:
        if key not in self.positions:
            log = self.broker.logs[key]
            if offset is not None and log.committed is None and self.policy == "latest":
                self._begin_latest(log)
            elif offset is not None:
                log.begin(offset, "a start where the last owner was")
            self.positions[key] = offset
            self.committed_positions.pop(key, None)
            self.told_end.pop(key, None)
            self.reset.pop(key, None)
            self.refused.discard(key)

    def _give(self, key: Key) -> None:
        self.positions.pop(key, None)

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Take these, at the offsets that they name (inside on_assign)."""
        self._enter()
        for place in partitions:
            self._take(key_of(place), place.offset if place.offset >= 0 else None)
            if place.offset not in (OFFSET_STORED, -1001) and place.offset < 0:
                log = self.broker.logs[key_of(place)]
                self.positions[log.key] = log.low if place.offset == OFFSET_BEGINNING else log.high

    incremental_assign = assign
