"""How a command reaches the cluster of an application: with its properties, and the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swarm_cli.configuration import Configuration
from swarm_cli.errors import complain

if TYPE_CHECKING:
    from swarm_consumer import App
    from swarm_consumer.admin import Cluster


def connected(app: App, kafka: Mapping[str, Any], configuration: Configuration) -> Cluster:
    """The cluster behind these client properties. Raises AdminError and ConfigurationError."""
    from swarm_consumer.admin import Cluster

    timeout_s = configuration.settings.connect_timeout
    return Cluster(
        kafka,
        client_id=f"{app.client_id}-cli",
        on_wait=lambda sentence: complain(f"{sentence} (--connect-timeout)."),
        **({} if timeout_s is None else {"timeout_s": timeout_s}),
    )


def values_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Client properties without the places where they were set."""
    return {name: one.value for name, one in properties.items()}
