"""Every setting of the checks is checked: each is fed with wrong types and values, none of which may be taken."""

import inspect
from typing import Any

import pytest

from swarm_liveness import LivenessListener, LivenessSettingsError

NUMBER = ["1", True, 0, -1, float("nan"), float("inf"), [], b"1"]

WRONG: dict[str, list[Any]] = {
    "memory_limit": NUMBER,
    "consuming_ttl": NUMBER,
    "polling_ttl": NUMBER,
    "stability_ttl": NUMBER,
    "memory_metric": ["", "vss", 5, None, True, ["uss"]],
    "memory_share": [*NUMBER, 1.5],
    "liveness_interval": [*NUMBER, None],
    "statistics_interval": [*NUMBER, None],
    "memory_refresh": NUMBER,
}


def test_the_table_here_has_every_setting() -> None:
    assert set(WRONG) == set(inspect.signature(LivenessListener).parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name}={value!r:.20}") for name, values in WRONG.items() for value in values],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, value: Any) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(LivenessSettingsError, match=name) as caught:
        LivenessListener(**settings)
    assert "\n" not in str(caught.value)
