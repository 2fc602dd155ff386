"""The committed offsets of one consumer group: seen without joining it, moved while it has no members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from swarm_consumer.admin._clients import Clients, TopicNumber
from swarm_consumer.admin._questions import UnansweredError, result_of
from swarm_consumer.admin.positions import PartitionOffsets
from swarm_consumer.errors import AdminError

_AT_WORK = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
"""What a coordinator says to a commit from outside while the group has members."""


class GroupOffsets:
    """A consumer group as `Cluster.group` returns it; `name` is the group's. It is closed with its cluster."""

    def __init__(self, clients: Clients, name: str) -> None:
        self.name = name
        self._clients = clients
        self._questions = clients.questions

    def committed(self, topic: str) -> dict[int, int]:
        """Return the committed offset (the next record to read) of each partition that has one. Raises AdminError."""

        def question(left: float) -> list[TopicPartition]:
            found = self._clients.group_client(self.name).list_topics(topic, timeout=left).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            asked = [TopicPartition(topic, number) for number in found.partitions]
            return _whole(self._clients.group_client(self.name).committed(asked, timeout=left))

        unknown = f"the offsets of group {self.name!r} in {topic!r} are not known"
        return {each.partition: each.offset for each in self._questions.ask(question, unknown) if each.offset >= 0}

    def offsets(self, wanted: Iterable[TopicNumber]) -> list[PartitionOffsets]:
        """Return committed, first and end offset of each (topic, partition), in that order. Raises AdminError."""
        asked = list(wanted)
        if not asked:
            return []
        places = [TopicPartition(topic, number) for topic, number in asked]
        answer = self._committed(places, "the committed offsets are not known")
        committed = {(each.topic, each.partition): each.offset for each in answer if each.offset >= 0}
        starts, ends = self._clients.starts(asked), self._clients.ends(asked)
        return [
            PartitionOffsets(
                topic=topic, partition=number, committed=committed.get((topic, number)),
                start=starts[topic, number], end=ends[topic, number],
            )
            for topic, number in asked
        ]  # fmt: skip

    def at_time(self, wanted: Iterable[TopicNumber], milliseconds: int) -> dict[TopicNumber, int | None]:
        """Return the first offset of each at or after a time (milliseconds since 1970); None where there is none.

        Raises AdminError.
        """
        places = [TopicPartition(topic, number, milliseconds) for topic, number in wanted]
        if not places:
            return {}
        found = self._questions.ask(
            lambda left: _whole(self._clients.group_client(self.name).offsets_for_times(places, timeout=left)),
            "the offsets of that time are not known",
        )
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in found}

    def commit(self, offsets: Mapping[TopicNumber, int]) -> None:
        """Commit the offset of each (topic, partition). Raises AdminError, "has-members" while the group is at work."""
        places = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        if not places:
            return
        # A commit takes no time limit, and waits 45 s for a coordinator: this question finds it, or fails, in time.
        self._committed(places, f"the offsets of group {self.name!r} were not changed")
        try:
            answers = self._questions.until(
                lambda _: self._clients.group_client(self.name).commit(offsets=places, asynchronous=False)
            )
        except UnansweredError as error:
            if error.code in _AT_WORK:
                raise AdminError(
                    f"group {self.name!r} has members, and the offsets of an active group cannot be moved: stop them "
                    "first; static members count until their session ends.",
                    "has-members",
                ) from None
            raise self._questions.refusal(f"the offsets of group {self.name!r} were not changed", error) from None
        for answer in answers or []:
            if answer.error is not None:
                raise AdminError(
                    f"{answer.topic}[{answer.partition}] of group {self.name!r} was not changed: {answer.error.str()}."
                )

    def _committed(self, places: list[TopicPartition], failure: str) -> list[TopicPartition]:
        return self._questions.ask(
            lambda left: _whole(self._clients.group_client(self.name).committed(places, timeout=left)), failure
        )

    def members(self) -> int | None:
        """Return how many members the group has; None where the cluster does not say."""
        timeout_s = self._questions.timeout_s
        future = self._clients.admin.describe_consumer_groups([self.name], request_timeout=timeout_s)[self.name]
        try:
            described = result_of(future, timeout_s)
        except (KafkaException, FutureTimeoutError):
            return None
        return 0 if described.state == ConsumerGroupState.DEAD else len(described.members)


def _whole(found: list[TopicPartition]) -> list[TopicPartition]:
    """Return an answer without errors: the error of one partition would look like "nothing committed"."""
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found
