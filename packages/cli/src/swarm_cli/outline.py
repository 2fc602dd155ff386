"""What is known of an application before nodes run it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is to be known of an application before nodes run it; plain values, which a child process can answer."""

    client_id: str
    servers: list[str]
    topics: dict[str, list[str]]
    """What each subscription group subscribes to."""
