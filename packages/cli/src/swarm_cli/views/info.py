"""The output of `info`: versions, settings and Kafka properties with their sources; secrets are masked."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from swarm_cli.configuration import DEFAULT, Configuration
from swarm_cli.settings import Settings
from swarm_cli.views.table import table_lines

if TYPE_CHECKING:
    from swarm_consumer import App
    from swarm_consumer.routing import SubscriptionGroup

Facts = dict[str, Any]
CODE = "code"
DISTRIBUTIONS = (
    "swarm-cli", "swarm-supervisor", "swarm-consumer", "swarm-liveness", "swarm-health", "swarm-pidfd",
    "confluent-kafka", "msgspec", "psutil", "typer",
)  # fmt: skip
OF_EXTRAS = ("kafka-python",)
"""Shown where they are installed."""


def versions() -> Mapping[str, str]:
    """The versions that matter for a bug report."""
    from confluent_kafka import libversion

    from swarm_supervisor.cpus import available_cpus

    found = {name: metadata.version(name) for name in DISTRIBUTIONS}
    for name in OF_EXTRAS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    found["librdkafka"] = libversion()[0]
    found["Python"] = f"{platform.python_implementation()} {platform.python_version()}"
    found["Linux"] = os.uname().release
    found["CPUs"] = str(available_cpus())
    return found


def settings(configuration: Configuration, app: App | None) -> Mapping[str, Mapping[str, Any]]:
    """Each setting with its value and source."""
    found = {}
    for name, row in Settings.rows().items():
        value, source = getattr(configuration.settings, name), configuration.source(name)
        if name == "kafka":
            value, source = given_properties(configuration) or None, _layers(configuration)
        if source == DEFAULT and name == "concurrency" and app is not None and app.concurrency != 1:
            value, source = app.concurrency, CODE
        elif value is None:
            value = row.default if row.default is not None else row.unset or None
        found[name] = {"value": value, "source": source}
    return found


def given_properties(configuration: Configuration) -> Mapping[str, Mapping[str, Any]]:
    """The merged Kafka properties from file, environment and options, with their sources."""
    from swarm_consumer.kafka.redaction import redacted

    return {
        name: {"value": value, "source": where}
        for where, properties in configuration.kafka
        for name, value in redacted(properties).items()
    }


def _layers(configuration: Configuration) -> str:
    return ", ".join(where for where, properties in configuration.kafka if properties) or DEFAULT


def kafka_properties(
    configuration: Configuration, app: App, group: SubscriptionGroup
) -> Mapping[str, Mapping[str, Any]]:
    """The properties of a subscription group's client under `swarm`, with their sources."""
    from swarm_cli.membership import described
    from swarm_consumer.admin import ClientProperties
    from swarm_consumer.kafka.redaction import redacted

    static_ids = described(configuration.settings, app.client_id)
    properties = ClientProperties(group, app.client_id, None, static_ids)
    shown = redacted(properties.in_effect())
    prefix = group.properties.get("group.instance.id")
    if prefix is not None:  # each node has its own id
        shown["group.instance.id"] = f"{prefix.value}_<node>_{group.name}"
    elif static_ids is not None and static_ids.covers(group):
        shown["group.instance.id"] = f"{static_ids.prefix}_<node>_{group.name}"
    return {name: {"value": _as_property(shown[name]), "source": properties.where(name)} for name in sorted(shown)}


def _as_property(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def lines(facts: Facts) -> Iterator[str]:
    """The whole text."""
    yield from table_lines(("VERSION OF", "IS"), list(facts["versions"].items()))
    yield ""
    settings = facts["settings"]
    rows = [(name.replace("_", "-"), _shown(entry["value"]), entry["source"]) for name, entry in settings.items()]
    yield from table_lines(("SETTING", "VALUE", "FROM"), rows)
    for group, properties in facts["kafka"].items():
        yield ""
        yield f"Subscription group {group}"
        yield from _property_rows(properties)
        yield f"Removal of members that died: {facts['eviction'][group]}"
    if facts["application"] is None:
        given = settings["kafka"]["value"]
        if isinstance(given, Mapping):
            yield ""
            yield from _property_rows(given)
        yield ""
        yield "Name APP to see the Kafka properties of its subscription groups."


def _shown(value: Any) -> Any:
    return "as below" if isinstance(value, Mapping) else value


def _property_rows(properties: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [(name, entry["value"], entry["source"]) for name, entry in sorted(properties.items())]
    return table_lines(("KAFKA PROPERTY", "VALUE", "FROM"), rows)
