"""The settings that the command line itself decides, one row for each, as in the packages that it joins.

A row is a field: name, type, default, and in its metadata the help ("{default}" stands for the default), its section,
and by name what `swarm_cli.setting_row.Row` has. `hatch run settings` makes `swarm_cli.settings` of all rows.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

RUNNING, KAFKA, LOG = "Running", "Kafka", "Logging and control"


def _row(default: object, text: str, section: str, **more: object) -> Any:
    return field(default=default, metadata={"help": text, "section": section, **more})


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """What none of the packages takes as it is."""

    nodes: str | None = _row(
        None, "Nodes to fork; auto: one for each CPU it may use.", RUNNING,
        placeholder="N|auto", words=("auto",), swarm_only=True, unset="auto",
    )  # fmt: skip
    preload: bool = _row(True, "Import APP once, not in each node.", RUNNING, swarm_only=True)
    reload: bool = _row(False, "Start anew when a source file changes.", RUNNING)

    bootstrap_servers: str | None = _row(
        None, "Brokers, instead of the application's.", KAFKA, placeholder="HOST:PORT,...", unset="what APP says"
    )
    kafka: list[str] | None = _row(  # noqa: RUF009 - a field
        None, "A librdkafka property; repeatable.", KAFKA, placeholder="KEY=VALUE", unset="what APP says"
    )
    group_instance_id: str | None = _row(
        None, "Static members: prefix of their ids.", KAFKA, placeholder="PREFIX", unset="what APP says"
    )
    connect_timeout: float | None = _row(
        None, "Give up (exit 1) if no broker answers.", KAFKA, unit="seconds", least=0, unset="no end"
    )
    allow_missing_topics: bool = _row(
        False, "Start although a topic does not exist, and wait for it.", KAFKA, rare=True
    )

    log_level: Literal["debug", "info", "warning", "error", "critical"] = _row(
        "info", "Least severity shown.", LOG, placeholder="LEVEL"
    )
    log_format: Literal["text", "json", "app"] = _row("text", "The form of a log line.", LOG)
    probe: str | None = _row(
        None, "Serve probes, metrics and a page at / (off).", LOG, placeholder="[HOST:]PORT", unset="off"
    )
    metrics_detail: Literal["partition", "topic", "node"] = _row(
        "partition", "How far /metrics tells partitions apart.", LOG, rare=True
    )
    control: str | None = _row(
        None, "The control socket's path (private, by pid).", LOG,
        placeholder="PATH|off", swarm_only=True, unset="by pid, in a private folder",
    )  # fmt: skip
