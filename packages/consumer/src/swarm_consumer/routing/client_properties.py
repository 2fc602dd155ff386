"""The properties of a consumer client, their sources, and the client's errors about them."""

from __future__ import annotations

import re
import secrets
from typing import Any

from swarm_consumer.errors import ConfigurationError
from swarm_consumer.kafka.client_errors import client_text
from swarm_consumer.kafka.producer_properties import connection_properties, consumer_properties
from swarm_consumer.kafka.redaction import scrub, secrets_of
from swarm_consumer.routing.routes import SubscriptionGroup, instance_id
from swarm_consumer.routing.settings import DEFAULT_ASSIGNOR, DEFAULT_HEARTBEAT_MS
from swarm_consumer.routing.static_ids import StaticIds


class ClientProperties:
    """The properties of one subscription group's client in this process.

    static_ids: for a client that has no ``group.instance.id`` of the application's.
    """

    def __init__(
        self, group: SubscriptionGroup, client_id: str, node_id: int | None, static_ids: StaticIds | None = None
    ) -> None:
        self._group = group
        self.node_id = node_id
        self._static_ids = static_ids if static_ids is not None and static_ids.covers(group) else None
        given = {name: one.value for name, one in group.properties.items()}
        self._secrets = secrets_of(given)
        properties = consumer_properties(given)
        prefix = properties.pop("group.instance.id", None)
        self.instance_id: str | None = None if prefix is None else instance_id(str(prefix), node_id, group.name)
        if self._static_ids is not None:
            self.instance_id = self._static_ids.of(group, node_id)
        self._first_instance_id = self.instance_id
        if self.instance_id is not None:
            properties["group.instance.id"] = self.instance_id
        if self.is_classic:  # for a client of the other protocol either property is an error
            properties.setdefault("partition.assignment.strategy", DEFAULT_ASSIGNOR)
            properties.setdefault("heartbeat.interval.ms", heartbeat_ms(group.session_timeout_s))
        properties["auto.offset.reset"] = group.routes[0].settings.initial_offset
        properties["group.id"] = group.consumer_group
        properties["client.id"] = client_id if node_id is None else f"{client_id}-{node_id}"
        properties["enable.auto.offset.store"] = False
        properties["enable.auto.commit"] = True
        if any("eofed" in route.hooks for route in group.routes):
            properties["enable.partition.eof"] = True
        self._properties = properties

    @property
    def static_id_may_change(self) -> bool:
        """Whether the static id is none of the application's, so that another one does as well."""
        return self._static_ids is not None

    def change_static_id(self) -> None:
        """Take another static id, because a process that must not has the present one."""
        self.instance_id = f"{self._first_instance_id}.{secrets.token_hex(2)}"
        self._properties["group.instance.id"] = self.instance_id

    def for_client(self) -> dict[str, Any]:
        """Return the properties for the client. They include secrets and must not be shown."""
        # librdkafka must not commit on its own: see `commit_turns.py`.
        return {**self._properties, "enable.auto.commit": False, "auto.commit.interval.ms": 0}

    def in_effect(self) -> dict[str, Any]:
        """Return the effective properties. They include secrets and must not be shown."""
        return dict(self._properties)

    def of_connection(self) -> dict[str, Any]:
        """Return those that say how to reach the brokers, for another kind of client. They include secrets."""
        return connection_properties(self._properties)

    @property
    def is_classic(self) -> bool:
        """Whether the group's protocol is the classic one."""
        return self._group.protocol == "classic"

    @property
    def incremental(self) -> bool:
        """Whether a rebalance names only the changes, not the whole assignment."""
        strategy = self._properties.get("partition.assignment.strategy")
        return not self.is_classic or "cooperative" in str(strategy)

    def where(self, name: str) -> str:
        """Return where a property was set."""
        if name == "group.instance.id" and self._static_ids is not None:
            return self._static_ids.where
        given = self._group.properties.get(name)
        return given.where if given is not None else "Swarm's own settings"

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must not be shown."""
        return self._secrets

    def scrub(self, text: str) -> str:
        """Return the text without any secret of these properties."""
        return scrub(text, self._secrets)

    @property
    def names(self) -> list[str]:
        """The names of all properties, longest first, so that a search in a text finds the most specific one."""
        return sorted(self._properties, key=len, reverse=True)


def heartbeat_ms(session_s: float) -> int:
    """Return the default of heartbeat.interval.ms: less than a third of the session, so that two may get lost."""
    return max(1, min(DEFAULT_HEARTBEAT_MS, (int(1000 * session_s) - 1) // 3))


def client_error(error: BaseException, properties: ClientProperties) -> ConfigurationError:
    """Return the client's error from its creation, with the source of the property that it names."""
    cause = client_text(error)
    named = next(
        (name for name in properties.names if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", cause)), None
    )
    where = f" ({named} is set in {properties.where(named)})" if named is not None else ""
    return ConfigurationError(f"the client refuses its properties: {properties.scrub(cause)}{where}")
