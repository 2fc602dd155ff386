"""What is to be done so that the topics of a cluster are as an application declares them. Pure: it asks nobody.

Partitions only grow, what is not declared is not looked at, and configurations that are not named stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_consumer.routing import DeclaredTopic


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic as it is in the cluster; `config` has the effective values."""

    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Create:
    """Make a topic that is not there."""

    topic: "DeclaredTopic"
    action = "create"

    @property
    def name(self) -> str:
        """The topic's."""
        return self.topic.name

    def __str__(self) -> str:
        wanted = [f"{self.topic.partitions} partition{'s' if self.topic.partitions > 1 else ''}"]
        if self.topic.replication is not None:
            wanted.append(f"replication {self.topic.replication}")
        wanted += [f"{key}={value}" for key, value in sorted(self.topic.config.items())]
        return f"+ {self.name}: create with {', '.join(wanted)}"


@dataclass(frozen=True)
class Repartition:
    """Add partitions; keys may then go to other partitions than before."""

    name: str
    before: int
    after: int
    action = "repartition"

    def __str__(self) -> str:
        return f"~ {self.name}: {self.before} -> {self.after} partitions (keys may go to other partitions from then on)"


@dataclass(frozen=True)
class Configure:
    """Set configurations: name to (value now, value then)."""

    name: str
    values: Mapping[str, tuple[str | None, str]]
    action = "configure"

    def __str__(self) -> str:
        told = (f"{key} {_shown(before)} -> {_shown(after)}" for key, (before, after) in sorted(self.values.items()))
        return f"~ {self.name}: {', '.join(told)}"


@dataclass(frozen=True)
class Delete:
    """Delete a topic and its records."""

    name: str
    partitions: int
    action = "delete"

    def __str__(self) -> str:
        return f"- {self.name}: delete with its {self.partitions} partition{'s' if self.partitions > 1 else ''}"


Change = Create | Repartition | Configure | Delete


@dataclass(frozen=True)
class Plan:
    """What to do, and what is different but will not be changed, in sentences."""

    changes: Sequence[Change] = ()
    notes: Sequence[str] = ()

    def only(self, *actions: str) -> "Plan":
        """The part of it with these actions."""
        return Plan([change for change in self.changes if change.action in actions], self.notes)


def planned(declared: "Sequence[DeclaredTopic]", present: Mapping[str, TopicState]) -> Plan:
    """Compare what is declared with what is there; `present` may have more topics, which are left alone."""
    changes: list[Change] = []
    notes: list[str] = []
    for topic in sorted(declared, key=lambda each: each.name):
        state = present.get(topic.name)
        if state is None:
            changes.append(Create(topic))
            continue
        if topic.partitions > state.partitions:
            changes.append(Repartition(topic.name, state.partitions, topic.partitions))
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
            if not same(state.config.get(key), value)
        }
        if different:
            changes.append(Configure(topic.name, different))
    return Plan(changes, notes)


def deletions(declared: "Sequence[DeclaredTopic]", present: Mapping[str, TopicState]) -> Plan:
    """Delete what is declared and there."""
    names = sorted(topic.name for topic in declared if topic.name in present)
    return Plan([Delete(name, present[name].partitions) for name in names])


def same(now: str | None, wanted: str) -> bool:
    """Whether two values of a configuration mean the same: order and blanks of a list, or 1.0 and 1, do not matter."""
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
