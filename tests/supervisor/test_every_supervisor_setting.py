"""Every setting of a supervisor is checked: each is fed with wrong types and values, none of which may be taken."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from swarm_supervisor import SettingsError, Supervisor
from swarm_supervisor.settings import Settings, _check_count, _check_seconds

NAN, INFINITE = float("nan"), float("inf")
SECONDS = ["1", True, NAN, INFINITE, -1, None, [], 10**400]
COUNT = ["1", True, 0, -1, 1.5, None, NAN, []]
CHOICE = ["", "sometimes", 5, None, True, ["always"]]
FLAG = ["yes", 0, 1, None, []]

WRONG: dict[str, list[Any]] = {
    "nodes": ["many", True, 0, -1, 1.5, None, NAN, [], 10**9],
    "name": ["", 5, None, b"shop", [], "a\nb", "a/b\0"],
    "liveness_interval": [*SECONDS, 0],
    "statistics_interval": [*SECONDS, 0],
    "node_report_timeout": [*SECONDS, 0],
    "boot_timeout": [*SECONDS, 0],
    "stack_dump_timeout": SECONDS,
    "shutdown_timeout": [*SECONDS, 0],
    "shutdown_grace": SECONDS,
    "node_restart_delay": SECONDS,
    "first_restart_delay": [value for value in SECONDS if value is not None],
    "restart_delay_max": SECONDS,
    "stable_after": SECONDS,
    "max_restarts": COUNT,
    "restart_window": [*SECONDS, 0],
    "restart": CHOICE,
    "on_crash_loop": CHOICE,
    "max_unavailable": COUNT,
    "target_waits_for_go": FLAG,
    "threads": CHOICE,
    "subreaper": FLAG,
    "control_socket": [5, True, b"path", [], ""],
}


def test_the_table_here_has_every_setting() -> None:
    assert set(WRONG) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!r:.20}") for name, values in WRONG.items() for value in values],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, value: Any) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=name) as caught:
        Supervisor(lambda node: 0, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("check", "bounds", "right", "wrong"),
    [
        (_check_count, {"least": 0, "most": 3}, [0, 3], [-1, 4, True, 1.0]),
        (_check_count, {}, [1, 10**9], [0]),
        (_check_seconds, {"above": 0, "most": 3}, [0.5, 3], [0, 3.5]),
        (_check_seconds, {"least": 2}, [2, 5.0], [1.9]),
    ],
)
def test_the_bounds_that_a_row_declares_are_those_that_hold(
    check: Any, bounds: dict[str, Any], right: list[Any], wrong: list[Any]
) -> None:
    """A least of 0 and a most were printed by `swarm-cli info --settings`, and not kept."""
    row = SimpleNamespace(name="patience", metadata=bounds)
    for value in right:
        check(row, value)
    for value in wrong:
        with pytest.raises(SettingsError, match="patience"):
            check(row, value)
