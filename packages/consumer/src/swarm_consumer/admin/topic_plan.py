"""What must change so that the topics of a cluster are as an application declares them. Pure: it asks no cluster.

Partitions are only added, topics that are not declared are left alone, and so are configurations that are not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swarm_consumer.routing.declared_topics import DeclaredTopic


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic as it is in the cluster; `config` has the effective values."""

    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CreateTopic:
    """Create a topic that does not exist."""

    topic: DeclaredTopic
    action = "create"

    @property
    def name(self) -> str:
        """The name of the topic."""
        return self.topic.name

    def __str__(self) -> str:
        wanted = [f"{self.topic.partitions} partition{'s' if self.topic.partitions > 1 else ''}"]
        if self.topic.replication is not None:
            wanted.append(f"replication {self.topic.replication}")
        wanted += [f"{key}={value}" for key, value in sorted(self.topic.config.items())]
        return f"+ {self.name}: create with {', '.join(wanted)}"


@dataclass(frozen=True)
class AddPartitions:
    """Add partitions, from `before` to `after`; keys may then go to other partitions than before."""

    name: str
    before: int
    after: int
    action = "repartition"

    def __str__(self) -> str:
        return f"~ {self.name}: {self.before} -> {self.after} partitions (keys may go to other partitions afterwards)"


@dataclass(frozen=True)
class ConfigureTopic:
    """Set configurations: name to (value now, value then)."""

    name: str
    values: Mapping[str, tuple[str | None, str]]
    action = "configure"

    def __str__(self) -> str:
        changes = (f"{key} {_shown(before)} -> {_shown(after)}" for key, (before, after) in sorted(self.values.items()))
        return f"~ {self.name}: {', '.join(changes)}"


@dataclass(frozen=True)
class DeleteTopic:
    """Delete a topic with its records."""

    name: str
    partitions: int
    action = "delete"

    def __str__(self) -> str:
        return f"- {self.name}: delete with its {self.partitions} partition{'s' if self.partitions > 1 else ''}"


TopicChange = CreateTopic | AddPartitions | ConfigureTopic | DeleteTopic


@dataclass(frozen=True)
class TopicPlan:
    """Changes to make; `notes` has a sentence for each difference that is never changed."""

    changes: Sequence[TopicChange] = ()
    notes: Sequence[str] = ()

    def only(self, *actions: str) -> TopicPlan:
        """Return the changes with these actions (create, repartition, configure, delete), and every note."""
        return TopicPlan([change for change in self.changes if change.action in actions], self.notes)


def plan_topics(declared: Sequence[DeclaredTopic], present: Mapping[str, TopicState]) -> TopicPlan:
    """Compare the declared topics with those in the cluster; others in `present` are left alone."""
    changes: list[TopicChange] = []
    notes: list[str] = []
    for topic in sorted(declared, key=lambda each: each.name):
        state = present.get(topic.name)
        if state is None:
            changes.append(CreateTopic(topic))
            continue
        if topic.partitions > state.partitions:
            changes.append(AddPartitions(topic.name, state.partitions, topic.partitions))
        elif topic.partitions < state.partitions:
            notes.append(
                f"{topic.name} has {state.partitions} partitions and {topic.partitions} are declared: partitions are "
                "never taken away"
            )
        if topic.replication is not None and topic.replication != state.replication:
            notes.append(
                f"{topic.name} has replication {state.replication} and {topic.replication} is declared: it is set when "
                "a topic is created; to change it, reassign its partitions"
            )
        different = {
            key: (state.config.get(key), value)
            for key, value in topic.config.items()
            if not means_the_same(state.config.get(key), value)
        }
        if different:
            changes.append(ConfigureTopic(topic.name, different))
    return TopicPlan(changes, notes)


def plan_deletions(declared: Sequence[DeclaredTopic], present: Mapping[str, TopicState]) -> TopicPlan:
    """Delete the declared topics that exist."""
    names = sorted(topic.name for topic in declared if topic.name in present)
    return TopicPlan([DeleteTopic(name, present[name].partitions) for name in names])


def means_the_same(now: str | None, wanted: str) -> bool:
    """Whether two values of a configuration mean the same: order and spaces of a list, or 1.0 and 1, do not matter."""
    if now is None:
        return False
    if now == wanted:
        return True
    try:
        return float(now) == float(wanted)
    except ValueError:
        return sorted(_parts(now)) == sorted(_parts(wanted))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value or "(empty)"
