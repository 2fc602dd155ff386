"""A stand-in for confluent_kafka.Producer over the fake broker: late, failing, and in transactions.

As with librdkafka, deliveries are told inside poll() and flush() alone; a commit_transaction() that times out goes on,
and has to be called again: until then begin_transaction() and abort_transaction() are refused.
"""

import heapq
import itertools
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from benchmarks.histories.primitives import Present

LETTERS = "letters"
TRANSACTION_TIMEOUT_S = 5.0
"""transaction.timeout.ms."""


class FakeProducer:
    """One producer of one node."""

    world: Any = None  # the history that runs now

    def __init__(self, configuration: dict[str, Any], logger: Any = None) -> None:
        self.broker = self.world.broker
        self.journal = self.broker.journal
        self.dead = False
        self._under_way: list[tuple[float, int, str, bytes, int, Any]] = []
        self._numbers = itertools.count()
        self._id = configuration.get("transactional.id")
        self._epoch = 0
        self._state = "ready"  # or open, failed (to be aborted), committing, fatal
        self._sent: list[tuple[str, bytes, int]] = []  # in the open transaction
        self._offsets: list[tuple[Any, Any]] = []
        self._committed_late = False
        self._begun: float | None = None  # when the present transaction did
        self.broker.producers.append(self)

    def holds(self, key: Any) -> bool:
        """Whether an offset of this partition is in a transaction that has not ended."""
        if self._begun is not None and Present.scheduler.now > self._begun + TRANSACTION_TIMEOUT_S:
            self._time_out()
        if self.dead or self._state in ("ready", "failed") or (self._state == "committing" and self._committed_late):
            return False
        return any((place.topic, place.partition) == key for offsets, _ in self._offsets for place in offsets)

    def __len__(self) -> int:
        return len(self._under_way)

    # -- messages ------------------------------------------------------------------------------------------------

    def produce(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = -1,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Take a message; it arrives, or not, a little later."""
        self._enter()
        rng = self.world.rng
        data = value.encode() if isinstance(value, str) else value
        if self._id is not None and self._state != "open":
            raise KafkaException(KafkaError(KafkaError._STATE, "Local: Erroneous state"))
        if rng.random() < self.broker.delivery_failure * 0.1:
            self.journal.note("local queue full")
            raise BufferError("Local: Queue full")
        if rng.random() < self.broker.delivery_failure * 0.1:
            self.journal.note("not queued")
            self._settle(topic, data, timestamp, acknowledged=False)
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "Broker: Message size too large"))
        due = Present.scheduler.now + self.broker.latency()
        heapq.heappush(self._under_way, (due, next(self._numbers), topic, data, timestamp, on_delivery))

    def poll(self, timeout: float = -1) -> int:
        """Tell of what has arrived."""
        self._enter()
        if timeout and timeout > 0 and not self._due():
            Present.scheduler.block(timeout)
        return self._tell()

    def flush(self, timeout: float = -1) -> int:
        """Wait until nothing is under way."""
        self._enter()
        scheduler = Present.scheduler
        until = scheduler.now + (60.0 if timeout < 0 else timeout)
        self._tell()
        while self._under_way and scheduler.now < until:
            # Not longer than asked; with the broker away, nothing arrives before it is back.
            first = self._under_way[0][0] if self.broker.up else until
            scheduler.block(max(0.001, min(until, first) - scheduler.now))
            self._tell()
        return len(self._under_way)

    def _due(self) -> bool:
        return self.broker.up and bool(self._under_way) and self._under_way[0][0] <= Present.scheduler.now

    def _tell(self) -> int:
        told = 0
        while self._due():
            _, _, topic, data, timestamp, on_delivery = heapq.heappop(self._under_way)
            told += 1
            failed = self.world.rng.random() < self.broker.delivery_failure or self._state == "fatal"
            if failed:
                self.journal.note("delivery failed", topic, data)
                self._settle(topic, data, timestamp, acknowledged=False)
                if self._state == "open":
                    self._state = "failed"
            elif self._id is not None:
                self._sent.append((topic, data, timestamp))
            else:
                self._settle(topic, data, timestamp, acknowledged=True)
            if on_delivery is not None:
                error = KafkaError(KafkaError._MSG_TIMED_OUT) if failed else None
                on_delivery(error, Message(topic=topic, partition=0, offset=told))
        return told

    def _settle(self, topic: str, data: bytes, timestamp: int, *, acknowledged: bool) -> None:
        """Let the broker have a message, or not."""
        if self.dead:
            return
        if topic == LETTERS:
            if acknowledged:
                self.world.letter_arrived(int(data), timestamp)
            return
        output = self.journal.outputs[int(data)]
        if not acknowledged:
            output.failed = True
            return
        output.acknowledged = True
        for record in output.records:
            record.visible += 1
            if record.visible > 1:
                self.world.twice(record)

    # -- transactions --------------------------------------------------------------------------------------------

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence whoever had this id before."""
        self._enter()
        if not self.broker.wait_until_up(30.0 if timeout < 0 else timeout):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out", False, True))
        epochs = self.broker.transactional_epochs
        self._epoch = epochs[self._id] = epochs.get(self._id, 0) + 1

    def begin_transaction(self) -> None:
        """Open a transaction."""
        self._enter()
        self._refuse_while_committing()
        if self._state != "ready":
            self.journal.note("begin refused", self._state)
            raise KafkaException(KafkaError(KafkaError._STATE, "Local: Erroneous state", self._state == "fatal"))
        self._state = "open"
        self._begun = Present.scheduler.now
        self._sent, self._offsets = [], []

    def send_offsets_to_transaction(self, offsets: Any, metadata: Any, timeout: float = -1) -> None:
        """Add offsets to the open transaction; refused for a member that the group no longer knows."""
        self._enter()
        self._require_open()
        if not self.broker.wait_until_up(5.0 if timeout < 0 else timeout):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out", False, True))
        client = metadata.client
        if client.dead or client.closed or metadata.generation != client.generation or not client.member:
            self._state = "failed"
            self.journal.note("offsets of a transaction refused")
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, None, False, False, True))
        self._offsets.append((list(offsets), client))

    def commit_transaction(self, timeout: float = -1) -> None:
        """Commit what was sent; may time out, with the commit done or not."""
        self._enter()
        scheduler, rng = Present.scheduler, self.world.rng
        if self._begun is not None and scheduler.now > self._begun + TRANSACTION_TIMEOUT_S:
            self._time_out()
        if self._state == "committing":
            if not self.broker.wait_until_up(1.0 if timeout < 0 else timeout):
                raise self._timed_out()
            if not self._committed_late:
                self._make_visible()
            self._state = "ready"
            return
        until = scheduler.now + (5.0 if timeout < 0 else timeout)
        self.flush(max(0.0, until - scheduler.now))
        self._require_open()
        if self._under_way:
            self._state = "failed"
            raise self._timed_out()
        if self._fenced():
            self._state = "fatal"
            raise KafkaException(KafkaError(KafkaError._FENCED, "Local: fenced", True))
        if not self.broker.up or rng.random() < self.broker.transaction_failure:
            self.journal.note("commit_transaction failed")
            if rng.random() < 0.4 and self.broker.up:
                self._state = "failed"
                raise KafkaException(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, None, False, False, True))
            self._state = "committing"
            self._committed_late = self.broker.up and rng.random() < 0.5
            if self._committed_late:
                self._make_visible()
            scheduler.block(max(0.0, until - scheduler.now))
            raise self._timed_out()
        scheduler.block(self.broker.latency())
        self._state = "ready"  # before what the offsets are judged by
        self._make_visible()

    def abort_transaction(self, timeout: float = -1) -> None:
        """Forget what was sent."""
        self._enter()
        self._refuse_while_committing()
        if self._state not in ("open", "failed"):
            raise KafkaException(KafkaError(KafkaError._STATE, "Local: Erroneous state", self._state == "fatal"))
        self._tell()
        for _, _, topic, data, timestamp, on_delivery in self._under_way:
            self._settle(topic, data, timestamp, acknowledged=False)
            if on_delivery is not None:
                on_delivery(KafkaError(KafkaError._PURGE_QUEUE), Message(topic=topic, partition=0, offset=0))
        self._under_way.clear()
        for topic, data, timestamp in self._sent:
            self._settle(topic, data, timestamp, acknowledged=False)
        self.journal.note("transaction aborted")
        self._state = "ready"

    def _make_visible(self) -> None:
        if self.dead or self._fenced():
            return
        for topic, data, timestamp in self._sent:
            self._settle(topic, data, timestamp, acknowledged=True)
        self.journal.note("transaction committed", len(self._sent), len(self._offsets))
        for offsets, client in self._offsets:
            for place in offsets:
                log = self.broker.logs[place.topic, place.partition]
                knowing = (log.key, log.cuts) in client._knowing()
                log.commit(place.offset, place.metadata, "a transaction", knowing)
                log.transacted = max(log.transacted, place.offset)

    def _time_out(self) -> None:
        """The broker aborts a transaction that has not ended in time: its offsets hold nobody up any more."""
        self._begun = None
        if self._state in ("open", "committing") and not (self._state == "committing" and self._committed_late):
            self.journal.note("transaction timed out")
            for topic, data, timestamp in self._sent:
                self._settle(topic, data, timestamp, acknowledged=False)
            self._sent, self._offsets = [], []
            self._state = "failed"

    def _fenced(self) -> bool:
        return self.broker.transactional_epochs.get(self._id) != self._epoch

    def _timed_out(self) -> KafkaException:
        return KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out", False, True))

    def _require_open(self) -> None:
        if self._state == "failed":
            raise KafkaException(KafkaError(KafkaError._STATE, "the transaction failed", False, False, True))
        if self._state != "open":
            raise KafkaException(KafkaError(KafkaError._STATE, "Local: Erroneous state", self._state == "fatal"))

    def _refuse_while_committing(self) -> None:
        if self._state == "committing":
            raise KafkaException(
                KafkaError(KafkaError._CONFLICT, "Conflicting commit_transaction API call is already in progress")
            )

    def _enter(self) -> None:
        scheduler = Present.scheduler
        me = scheduler.current
        if me is not None and me.dying:
            scheduler.exit(me)
        scheduler.preempt()
