"""Changes of topics as JSON: the field names are part of the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from swarm_consumer.admin import ConfigureTopic, CreateTopic, TopicChange, TopicPlan


def as_data(plan: TopicPlan, failures: Mapping[int, str], made: bool) -> dict[str, Any]:
    """``{"changes": [{"action", "topic", ..., "made", "error"}], "notes": [...]}``.

    `made`: whether the changes were attempted; `failures`: the error of each failed change, by position in the plan.
    """
    changes = [
        _change(change) | {"made": made and number not in failures, "error": failures.get(number)}
        for number, change in enumerate(plan.changes)
    ]
    return {"changes": changes, "notes": list(plan.notes)}


def _change(change: TopicChange) -> dict[str, Any]:
    data: dict[str, Any] = {"action": change.action, "topic": change.name}
    match change:
        case CreateTopic(topic):
            return data | {
                "partitions": topic.partitions, "replication": topic.replication, "config": dict(topic.config),
            }  # fmt: skip
        case ConfigureTopic(_, values):
            return data | {
                "config": {key: {"before": before, "after": after} for key, (before, after) in values.items()}
            }
        case _:
            return data | {key: value for key, value in dataclasses.asdict(change).items() if key != "name"}
