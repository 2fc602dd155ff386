"""What a fake consumer commits: what it is told to.

A commit that is refused for the moment is tried again after a back-off, and later ones overtake it, as in librdkafka.
"""

from collections import deque
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from benchmarks.histories.journal import Passed
from benchmarks.histories.primitives import Present

Key = tuple[str, int]
Knowing = set[tuple[Key, int]]
REFUSALS = (
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)
SILENT, HANDED, SEEN = range(3)
"""A reset to the start of the log: done by the client, with a record handed out since, with a turn after that."""
GRACE_S = 2.0
"""How long a client without faults may take until it has committed what it must."""


def key_of(place: TopicPartition) -> Key:
    """Return the partition."""
    return place.topic, place.partition


class Committing:
    """The part of a fake consumer that commits."""

    world: Any
    broker: Any
    journal: Any
    positions: dict[Key, int | None]
    member: bool
    dead: bool
    closed: bool
    generation: int

    def __init__(self) -> None:
        self.committed_positions: dict[Key, int] = {}
        # Whose position was set back to the start, and what the runtime can know of it.
        self.reset: dict[Key, int] = {}
        self._reports: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()
        self._landing: deque[tuple[float, list[TopicPartition], int, str, Knowing]] = deque()
        self._retrying: list[tuple[float, list[TopicPartition], int, str, Knowing]] = []

    def _send(self, places: list[TopicPartition], how: str) -> None:
        now = Present.scheduler.now
        at = max(now + self.broker.latency(), self._landing[-1][0] if self._landing else 0.0)
        generation = self.generation if self.member else -1  # who is no member any more has none
        self._landing.append((at, places, generation, how, self._knowing()))
        if at <= now and self.broker.up:
            self._land_all()

    def _land_all(self) -> None:
        while self._landing:
            self._land_next()

    def _land_next(self) -> None:
        """Let the first commit on the connection arrive: it is answered, or waits for its next attempt."""
        _, places, generation, how, knowing = self._landing.popleft()
        if self.broker.commit_fails() and self.world.rng.random() < 0.5:
            self.journal.note("commit retried", how)
            at = Present.scheduler.now + 0.1 + self.world.rng.random() * 0.3
            self._retrying.append((at, places, generation, how, knowing))
            return
        self._report(self._land(places, generation, how, knowing), places)

    def _retry(self, *, all_of_them: bool = False) -> None:
        """Let those arrive whose back-off has ended."""
        now = Present.scheduler.now
        due = [one for one in self._retrying if all_of_them or one[0] <= now]
        self._retrying = [one for one in self._retrying if one not in due]
        for _, places, generation, how, knowing in due:
            self._report(self._land(places, generation, how, knowing), places)

    def _knowing(self) -> Knowing:
        """Return the partitions of which the runtime has seen that they were cut, each with how often it was."""
        return {(key, self.broker.logs[key].cuts) for key, seen in self.reset.items() if seen == SEEN}

    def _look_back(self) -> None:
        """See what became of resets: told, and had their chance to be followed by a commit."""
        now = Present.scheduler.now
        for key, seen in self.reset.items():
            log = self.broker.logs[key]
            if seen == HANDED:
                self.reset[key] = SEEN
            if not log.ahead or key not in self.positions:
                continue
            if log.ahead_since is None or log.ahead_since < self.broker.faulty_until:
                first = next((record for record in log.records if not record.absent), None)
                if first is not None and first.covered in ("handled", "marked"):
                    log.ahead_since = now
            elif now - log.ahead_since > GRACE_S:
                log.had_chance = True

    def _land(self, places: list[TopicPartition], generation: int, how: str, knowing: Knowing) -> KafkaError | None:
        """Let a commit arrive at the broker; return its refusal."""
        if self.dead:
            return KafkaError(KafkaError._FAIL)
        if not self.member or generation != self.generation:
            self.journal.note("commit refused", how)
            return KafkaError(KafkaError.ILLEGAL_GENERATION)
        refusal = None
        if self.broker.commit_fails():
            code = REFUSALS[int(self.world.rng.random() * len(REFUSALS))]
            self.journal.note("commit failed", how, code)
            refusal = KafkaError(code, None, False, code == KafkaError.REQUEST_TIMED_OUT)
            if code != KafkaError.REQUEST_TIMED_OUT or self.world.rng.random() < 0.5:
                return refusal  # else it was taken, and only its answer is late
        for place in places:
            key = key_of(place)
            log = self.broker.logs[key]
            if not log.rewound and place.offset < log.transacted:
                where = f"{key} back to {place.offset}, behind a transaction's {log.transacted}"
                self.journal.breaks(Passed(f"{how} took {where}"))
            log.commit(place.offset, place.metadata, how, (key, log.cuts) in knowing)
            self.committed_positions[key] = place.offset
        return refusal

    def _report(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        self._reports.append((error, places))
