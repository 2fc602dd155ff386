"""The settings of a supervisor, one row each, and the check for combinations that make no sense.

A row is a field of `Settings`: name, type, default, and in its metadata `unit` and the bounds `above`, `least` and
`most`. Settings that the command line has too also have the help ("{default}" stands for the default), its section, and
`rare`. `hatch run settings` generates the keywords of `Supervisor`, the options and docs/configuration.md from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from swarm_supervisor._settings_keywords import SettingsKeywords as SettingsKeywords

DO_NOT_RESTART = 125
"""Exit code of a node that must not be restarted, under any restart mode, as in s6."""


MOST_NODES = 4096
"""A higher number on one machine is treated as a typing error."""


MOST_SECONDS = 10**9
"""Longer than any swarm will live, and below the overflow of a wait."""


class SettingsError(ValueError):
    """Settings that cannot be used. The text is one sentence that says what to change; the exit code is 2."""


def _row(default: object, text: str = "", section: str = "", **more: object) -> Any:
    return field(default=default, metadata={"help": text, "section": section, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a supervisor, times in seconds. `SettingsError` for values that contradict each other."""

    nodes: int | Literal["auto"] = _row("auto", unit="nodes", least=1, most=MOST_NODES)
    """Number of nodes; "auto": the number of CPUs that this process may use, by affinity and cgroup quota."""
    name: str = "swarm"
    """Name of the swarm in logs, snapshots and process titles."""
    restart: Literal["always", "on-failure", "never"] = _row(
        "always", "When to replace a node that ends on its own.", "Running", rare=True
    )
    """When to restart a node whose target returns."""
    on_crash_loop: Literal["degrade", "exit"] = _row(
        "degrade", "If a node keeps dying: keep trying (degraded), or exit with 5.", "Running", rare=True
    )
    """degrade: keep trying at restart_delay_max. exit: stop all nodes and end with exit code 5."""
    max_unavailable: int = _row(
        1, "Most nodes that a restart takes down at once ({default}).", "Running", unit="nodes", least=1, rare=True
    )
    """Most nodes that a rolling restart may take down at once."""
    max_restarts: int = _row(
        5,
        "Unplanned exits of a node that count as a crash loop ({default}).",
        "Running",
        unit="exits",
        least=1,
        rare=True,
    )
    """Number of unplanned exits of a node, in a row or within restart_window, that count as a crash loop."""
    threads: Literal["warn", "refuse", "ignore"] = _row(
        "warn", "What to do if the supervisor has other threads at fork time.", "Running", rare=True
    )
    """What to do about another thread in the supervisor at a fork. Threads of librdkafka are always refused."""
    subreaper: bool = _row(False, "Adopt and reap orphaned child processes of nodes.", "Running", rare=True)
    """Adopt and reap orphaned descendants of the nodes (PR_SET_CHILD_SUBREAPER)."""
    shutdown_timeout: float = _row(60.0, "Time from TERM to KILL ({default}).", "Times", unit="seconds", above=0)
    """Time from TERM to KILL."""
    shutdown_grace: float = _row(
        15.0,
        "Extra time that the supervisor waits after that ({default}).",
        "Times",
        unit="seconds",
        least=0,
        rare=True,
    )
    """Extra time after shutdown_timeout before the supervisor ends without its nodes."""
    node_restart_delay: float = _row(
        5.0, "Delay before a dead node is restarted ({default}).", "Times", unit="seconds", least=0
    )
    """Shortest delay between an unplanned death and the next start, but for `first_restart_delay`."""
    first_restart_delay: float | None = _row(
        None,
        "Delay before the first restart in a row (that of node_restart_delay; 0: at once).",
        "Times",
        unit="seconds",
        least=0,
        rare=True,
    )
    """Delay before the first restart in a row, of a node that was stable or dies for the first time; None:
    node_restart_delay. At most node_restart_delay, with which the delays of the next ones begin."""
    restart_delay_max: float = _row(
        60.0,
        "Upper limit of the delay, which doubles if a node keeps dying ({default}).",
        "Times",
        unit="seconds",
        least=0,
        rare=True,
    )
    """Upper limit of the delay, which doubles if a node keeps dying."""
    restart_window: float = _row(
        600.0, "Period in which max_restarts are counted ({default}).", "Times", unit="seconds", above=0, rare=True
    )
    """See max_restarts."""
    stable_after: float = _row(
        60.0, "Uptime after which a node counts as stable ({default}).", "Times", unit="seconds", least=0, rare=True
    )
    """Time of being healthy after which a node counts as stable."""
    stack_dump_timeout: float = _row(
        2.0,
        "Time for a hung node to dump its stacks ({default}; 0: no dumps).",
        "Times",
        unit="seconds",
        least=0,
        rare=True,
    )
    """How long a hung node may take to dump its stacks, before TERM and again before KILL; 0: no dumps."""
    boot_timeout: float = _row(
        60.0, "Time from fork to the first healthy report ({default}).", "Times", unit="seconds", above=0, rare=True
    )
    """Time from fork to the first healthy report."""
    node_report_timeout: float = _row(
        60.0, "Stop a node without reports for SECONDS ({default}).", "Health", unit="seconds", above=0
    )
    """Time without a report after which a node counts as hung."""
    liveness_interval: float = _row(
        10.0, "How often a node reports ({default}).", "Health", unit="seconds", above=0, rare=True
    )
    """How often a node reports."""
    statistics_interval: float = _row(
        1.0, "How often a node sends its statistics ({default}).", "Health", unit="seconds", above=0, rare=True
    )
    """How often a node sends its statistics."""
    target_waits_for_go: bool = False
    """Whether the target itself calls node.ready() and waits for node.go in a warm replacement. False: a spare is
    held before the target is called."""
    control_socket: Path | None = _row(None, keyword="Path | str | None")  # noqa: RUF009  a field
    """Path of the control socket; None: no socket."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        _check_types(self)
        _check_combinations(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Make settings from keywords. `SettingsError` names an unknown keyword and its nearest match."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise SettingsError(f"there is no setting {name!r}: {hint}")
        socket = values.get("control_socket")
        return cls(**{**values, "control_socket": Path(socket) if isinstance(socket, str) else socket})


@functools.cache
def _hints() -> Mapping[str, Any]:
    return typing.get_type_hints(Settings)


def _check_types(settings: Settings) -> None:
    for row in dataclasses.fields(settings):
        _check_of(row)(row, getattr(settings, row.name))


def _check_of(row: dataclasses.Field[Any]) -> Callable[[dataclasses.Field[Any], object], None]:
    # By name where one setting is like no other; all others by unit and type.
    hint = _hints()[row.name]
    if row.name in _ALONE:
        return _ALONE[row.name]
    if row.metadata.get("unit") == "seconds":
        return _check_seconds
    if typing.get_origin(hint) is Literal:
        return _check_choice
    return {int: _check_count, bool: _check_flag}[hint]


def _check_seconds(row: dataclasses.Field[Any], value: object) -> None:
    if value is None and row.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise SettingsError(f"{row.name} must be a number of seconds, not {value!r}")
    if value > MOST_SECONDS:
        raise SettingsError(f"{row.name} must be at most {MOST_SECONDS} seconds, which is 30 years: give fewer")
    if "above" in row.metadata and value <= row.metadata["above"]:
        raise SettingsError(f"{row.name} must be more than {row.metadata['above']} seconds, not {value:g}")
    if "least" in row.metadata and value < row.metadata["least"]:
        raise SettingsError(f"{row.name} must be at least {row.metadata['least']} seconds, not {value:g}")
    if "most" in row.metadata and value > row.metadata["most"]:
        raise SettingsError(f"{row.name} must be at most {row.metadata['most']} seconds, not {value:g}")


def _check_count(row: dataclasses.Field[Any], value: object) -> None:
    least, most = row.metadata.get("least", 1), row.metadata.get("most")
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(f"{row.name} must be a whole number of at least {least}, not {value!r}")
    if most is not None and value > most:
        raise SettingsError(f"{row.name} must be at most {most}, not {value!r}")


def _check_choice(row: dataclasses.Field[Any], value: object) -> None:
    choices = typing.get_args(_hints()[row.name])
    if not isinstance(value, str) or value not in choices:
        raise SettingsError(f"{row.name} must be one of {', '.join(choices)}, not {value!r}")


def _check_flag(row: dataclasses.Field[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"{row.name} must be True or False, not {value!r}")


def _check_nodes(row: dataclasses.Field[Any], value: object) -> None:
    if value != "auto" and not _is_count(value):
        raise SettingsError(f'nodes must be "auto" or a whole number of at least 1, not {value!r}')
    check_most_nodes(value)


def _check_name(row: dataclasses.Field[Any], value: object) -> None:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise SettingsError(f"name must be a printable text, not {value!r}")


def _check_control_socket(row: dataclasses.Field[Any], value: object) -> None:
    if value is not None and (not isinstance(value, Path) or value == Path()):
        raise SettingsError(f"control_socket must be a path, not {value!r}")


_ALONE: Mapping[str, Callable[[dataclasses.Field[Any], object], None]] = {
    "nodes": _check_nodes, "name": _check_name, "control_socket": _check_control_socket,
}  # fmt: skip


def check_most_nodes(nodes: object) -> None:
    """`SettingsError` for an implausible number of nodes."""
    if isinstance(nodes, int) and nodes > MOST_NODES:
        raise SettingsError(f"nodes must be at most {MOST_NODES}, not {nodes}: one machine cannot use more")


def _check_combinations(settings: Settings) -> None:
    # A node that reports every n seconds is often silent for almost n seconds, and one report may be dropped.
    least = 2 * settings.liveness_interval
    if settings.node_report_timeout < least:
        raise SettingsError(
            f"node_report_timeout ({settings.node_report_timeout:g} s) must be at least twice liveness_interval "
            f"({settings.liveness_interval:g} s): it is {least - settings.node_report_timeout:g} s too short"
        )
    if settings.restart_delay_max < settings.node_restart_delay:
        raise SettingsError(
            f"restart_delay_max ({settings.restart_delay_max:g} s) must not be below node_restart_delay "
            f"({settings.node_restart_delay:g} s): it is "
            f"{settings.node_restart_delay - settings.restart_delay_max:g} s too short"
        )
    first = settings.first_restart_delay
    if first is not None and first > settings.node_restart_delay:
        raise SettingsError(
            f"first_restart_delay ({first:g} s) must not be above node_restart_delay "
            f"({settings.node_restart_delay:g} s), with which the next delays begin: it is "
            f"{first - settings.node_restart_delay:g} s too long"
        )
    if settings.restart_window <= settings.node_restart_delay:
        raise SettingsError(
            f"restart_window ({settings.restart_window:g} s) must be longer than node_restart_delay "
            f"({settings.node_restart_delay:g} s), or no two exits would ever be within it: it is "
            f"{settings.node_restart_delay - settings.restart_window:g} s too short"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
