"""Times that contradict one another are refused, or warned of, with what to set."""

from typing import Any

import pytest

from swarm_cli import budgets
from swarm_cli.errors import UsageError
from swarm_consumer import App
from swarm_consumer.routing import SubscriptionGroup


def static_group(**properties: Any) -> SubscriptionGroup:
    app = App("shop", {"group.instance.id": "shop", **properties})
    app.consume("orders", group="pricing")(lambda messages: None)
    (group,) = app.subscription_groups()
    return group


def test_a_delay_that_outlasts_the_session_names_both_options_and_what_to_set() -> None:
    (warning,) = budgets.static_membership(5.0, 60.0, [static_group()])
    assert "restart_delay_max (60 s)" in warning
    assert "session.timeout.ms (45 s) of pricing" in warning
    assert "--restart-delay-max below 35" in warning
    assert "--kafka session.timeout.ms=" in warning
    assert not list(budgets.static_membership(5.0, 34.0, [static_group()]))
    assert not list(budgets.static_membership(5.0, 60.0, [static_group(**{"session.timeout.ms": 90_000})]))


@pytest.mark.parametrize(("took_s", "warned"), [(1.0, False), (30.0, False), (31.0, True), (59.9, True)])
def test_an_import_that_takes_most_of_the_boot_timeout_is_warned_of(took_s: float, warned: bool) -> None:
    said = budgets.importing(took_s, 60.0)
    assert bool(said) is warned
    assert not said or (f"took {took_s:.0f} s" in said and "boot_timeout (60 s)" in said and "--boot-timeout" in said)


def test_an_import_that_no_node_can_repeat_in_time_is_refused_with_both_times() -> None:
    with pytest.raises(UsageError, match=r"took 70 s to import.*boot_timeout \(60 s\).*--boot-timeout"):
        budgets.importing(70.0, 60.0)
