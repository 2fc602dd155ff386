"""What a supervisor can be told, and which combinations make no sense."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

DO_NOT_RESTART = 125
"""Exit code by which a node says that it must not be restarted, under every restart mode, as in s6."""


MOST_NODES = 4096
"""More on one machine is taken for a typing error."""


class SettingsError(ValueError):
    """Settings that cannot be used. The text is one sentence that says what to change; the exit code is 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a supervisor, in seconds. `SettingsError` for values that contradict one another."""

    nodes: int | Literal["auto"] = "auto"
    """How many nodes to run; "auto": as many as this process may use CPUs, by affinity and cgroup quota."""
    name: str = "swarm"
    """Names the swarm in logs, snapshots and process titles."""
    liveness_interval: float = 10.0
    """How often a node reports."""
    statistics_interval: float = 1.0
    """How often a node's statistics travel."""
    node_report_timeout: float = 60.0
    """Silence after which a node counts as hung."""
    boot_timeout: float = 60.0
    """From fork to the first healthy report."""
    stack_dump_timeout: float = 2.0
    """How long a hung node may take to dump its stacks, before TERM and again before KILL; 0: no dumps."""
    shutdown_timeout: float = 60.0
    """From TERM to KILL."""
    shutdown_grace: float = 15.0
    """What the supervisor waits on top of shutdown_timeout until it ends without its nodes."""
    node_restart_delay: float = 5.0
    """The least time between an unplanned death and the next start."""
    restart_delay_max: float = 60.0
    """What the delay of a node that keeps dying young doubles up to."""
    stable_after: float = 60.0
    """Healthy for so long, a node counts as stable."""
    max_restarts: int = 5
    """So many unplanned exits of one node in a row, or within restart_window, are a crash loop."""
    restart_window: float = 600.0
    """See max_restarts."""
    restart: Literal["always", "on-failure", "never"] = "always"
    """Whether a target that returns is started again."""
    on_crash_loop: Literal["degrade", "exit"] = "degrade"
    """degrade: keep trying at restart_delay_max. exit: stop all nodes and end with exit code 5."""
    max_unavailable: int = 1
    """How many nodes a rolling restart may take down at once."""
    target_waits_for_go: bool = False
    """Whether the target itself calls node.ready() and waits for node.go in a warm replacement. False: a replacement is
    held before the target is called."""
    threads: Literal["warn", "refuse", "ignore"] = "warn"
    """What to do about another thread in the supervisor at a fork. Threads of librdkafka are always refused."""
    subreaper: bool = False
    """Adopt and reap orphaned descendants of the nodes (PR_SET_CHILD_SUBREAPER)."""
    control_socket: Path | None = None
    """Path of the control socket; None: no socket."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_types(self)
        _check_combinations(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """Make settings from keywords. `SettingsError` names an unknown one and its nearest match."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise SettingsError(f"there is no setting {name!r}: {hint}")
        socket = values.get("control_socket")
        return cls(**{**values, "control_socket": Path(socket) if isinstance(socket, str) else socket})


class SettingsKeywords(TypedDict, total=False):
    """The keywords of `Supervisor`: the fields of `Settings`, which explains them."""

    nodes: int | Literal["auto"]
    name: str
    liveness_interval: float
    statistics_interval: float
    node_report_timeout: float
    boot_timeout: float
    stack_dump_timeout: float
    shutdown_timeout: float
    shutdown_grace: float
    node_restart_delay: float
    restart_delay_max: float
    stable_after: float
    max_restarts: int
    restart_window: float
    restart: Literal["always", "on-failure", "never"]
    on_crash_loop: Literal["degrade", "exit"]
    max_unavailable: int
    target_waits_for_go: bool
    threads: Literal["warn", "refuse", "ignore"]
    subreaper: bool
    control_socket: Path | str | None


MOST_SECONDS = 10**9
"""More than a swarm will live, and less than what overflows in a wait."""
_POSITIVE = (
    "liveness_interval", "statistics_interval", "node_report_timeout", "boot_timeout", "shutdown_timeout",
    "restart_window",
)  # fmt: skip
_NOT_NEGATIVE = ("stack_dump_timeout", "shutdown_grace", "node_restart_delay", "restart_delay_max", "stable_after")
_CHOICES = {
    "restart": ("always", "on-failure", "never"),
    "on_crash_loop": ("degrade", "exit"),
    "threads": ("warn", "refuse", "ignore"),
}


def _check_types(settings: Settings) -> None:
    nodes: object = settings.nodes
    if nodes != "auto" and not _is_count(nodes):
        raise SettingsError(f'nodes must be "auto" or a whole number of at least 1, not {nodes!r}')
    check_most_nodes(nodes)
    for name in ("max_unavailable", "max_restarts"):
        value = getattr(settings, name)
        if not _is_count(value):
            raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}")
    for name in _POSITIVE + _NOT_NEGATIVE:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise SettingsError(f"{name} must be a number of seconds, not {value!r}")
        if value > MOST_SECONDS:
            raise SettingsError(f"{name} must be at most {MOST_SECONDS} seconds, which is 30 years: give fewer")
        if value < 0 or (value == 0 and name in _POSITIVE):
            least = "more than 0" if name in _POSITIVE else "at least 0"
            raise SettingsError(f"{name} must be {least} seconds, not {value:g}")
    for name, choices in _CHOICES.items():
        value = getattr(settings, name)
        if not isinstance(value, str) or value not in choices:
            raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    for name in ("target_waits_for_go", "subreaper"):
        if not isinstance(getattr(settings, name), bool):
            raise SettingsError(f"{name} must be True or False, not {getattr(settings, name)!r}")
    if not isinstance(settings.name, str) or not settings.name.isprintable() or not settings.name:
        raise SettingsError(f"name must be a printable text, not {settings.name!r}")
    socket: object = settings.control_socket
    if socket is not None and (not isinstance(socket, Path) or socket == Path()):
        raise SettingsError(f"control_socket must be a path, not {settings.control_socket!r}")


def check_most_nodes(nodes: object) -> None:
    """`SettingsError` for a number of nodes that nobody means."""
    if isinstance(nodes, int) and nodes > MOST_NODES:
        raise SettingsError(f"nodes must be at most {MOST_NODES}, not {nodes}: a machine has no use for more")


def _check_combinations(settings: Settings) -> None:
    # A node that reports every n seconds is silent for almost n seconds all the time, and one report may be dropped.
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
    if settings.restart_window <= settings.node_restart_delay:
        raise SettingsError(
            f"restart_window ({settings.restart_window:g} s) must be longer than node_restart_delay "
            f"({settings.node_restart_delay:g} s), or no two exits would ever be within it: it is "
            f"{settings.node_restart_delay - settings.restart_window:g} s too short"
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
