"""The settings of one consuming process, one row each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from swarm_consumer.declaring.checks import check_number
from swarm_consumer.declaring.setting_row import row


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Keywords of `App` and `Runtime`, which explain them."""

    concurrency: int = row(1, "Worker threads per node.", "Running", unit="threads", least=1, most=1000)
    drain_timeout: float = row(
        45.0, "Time for a node to finish its work ({default}).", "Times", unit="seconds", least=0.1, most=86400
    )


def check_process_setting(name: str, value: object, where: str) -> None:
    """Raise ConfigurationError unless the value is within the bounds of the setting's row."""
    (setting,) = (each for each in dataclasses.fields(ProcessSettings) if each.name == name)
    bounds = setting.metadata
    check_number(value, bounds["least"], bounds["most"], name, where, whole=isinstance(setting.default, int))
