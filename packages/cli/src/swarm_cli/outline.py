"""What is known of an application before nodes run it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The facts about an application that a start needs, as plain values that a child process can return."""

    client_id: str
    servers: list[str]
    topics: dict[str, list[str]]
    """What each subscription group subscribes to."""
    members: dict[str, str] = field(default_factory=dict)
    """The group protocol of each consumer group that has no group.instance.id of the application's."""
    evicts_at_stop: bool = False
    """Whether a node that is scaled away removes its own member from a group."""
