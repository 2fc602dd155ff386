"""The settings that belong to the command line itself, one row each, as in the packages that it combines.

A row is a field: name, type, default, and in its metadata the help ("{default}" stands for the default), its section,
and the other fields of `swarm_cli.setting_row.Row`. `hatch run settings` generates `swarm_cli.settings` from all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

RUNNING, KAFKA, LOG = "Running", "Kafka", "Logging and control"


def _row(default: object, text: str, section: str, **more: object) -> Any:
    return field(default=default, metadata={"help": text, "section": section, **more})


@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """The settings that no package takes as they are."""

    nodes: str | None = _row(
        None, "Number of nodes; auto: one per available CPU.", RUNNING,
        placeholder="N|auto", words=("auto",), swarm_only=True, unset="auto",
    )  # fmt: skip
    preload: bool = _row(True, "Import APP once, not in each node.", RUNNING, swarm_only=True)
    progress_memory: str = _row(
        "auto", "Where nodes note how far they are, so that a dead one's work is not repeated; PATH: on a tmpfs.",
        RUNNING, placeholder="auto|off|PATH", words=("auto", "off"), swarm_only=True, rare=True,
    )  # fmt: skip
    reload: bool = _row(False, "Restart when a source file changes.", RUNNING)

    bootstrap_servers: str | None = _row(
        None, "Override the application's brokers.", KAFKA, placeholder="HOST:PORT,...", unset="set by APP"
    )
    kafka: list[str] | None = _row(  # noqa: RUF009  a field
        None, "A librdkafka property; repeatable.", KAFKA, placeholder="KEY=VALUE", unset="set by APP"
    )
    group_instance_id: str | None = _row(
        None, "Use static members with this id prefix.", KAFKA, placeholder="PREFIX", unset="set by APP", rare=True
    )
    membership: Literal["auto", "static", "dynamic"] = _row(
        "auto", "Keep a dead node's place in the group.", KAFKA,
        swarm_only=True,
    )  # fmt: skip
    connect_timeout: float | None = _row(
        None, "Give up (exit 1) if no broker answers.", KAFKA, unit="seconds", least=0, unset="no limit"
    )
    allow_missing_topics: bool = _row(False, "Start even if a topic does not exist, and wait for it.", KAFKA, rare=True)

    log_level: Literal["debug", "info", "warning", "error", "critical"] = _row(
        "info", "Lowest level shown.", LOG, placeholder="LEVEL"
    )
    log_format: Literal["text", "json", "app"] = _row("text", "Format of log lines.", LOG)
    probe: str | None = _row(
        None, "Serve probes, metrics and a page at / (off).", LOG, placeholder="[HOST:]PORT", unset="off"
    )
    metrics_detail: Literal["partition", "topic", "node"] = _row(
        "partition", "Level of detail of partition metrics.", LOG, rare=True
    )
    control: str | None = _row(
        None, "The control socket's path (private, by pid).", LOG,
        placeholder="PATH|off", swarm_only=True, unset="by pid, in a private folder",
    )  # fmt: skip
