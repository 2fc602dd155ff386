"""Filters: the same 20 cases through `swarm` and through `server` choose the same, by the commands' own code."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_cli import logs, preflight
from swarm_cli.errors import UsageError
from swarm_cli.main import program

APP = """
from swarm_consumer import App
app = App("shop", kafka={"bootstrap.servers": "127.0.0.1:1"})
def handler(messages): ...
app.consume("orders-eu", group="billing")(handler)
app.consume("orders-us", group="billing")(handler)
app.consume("refunds", group="billing", kafka={"session.timeout.ms": 9000}, subscription_group="slow")(handler)
app.consume("orders-eu", group="audit")(handler)
app.consume("payments", group="audit")(handler)
app.consume("archived", group="audit", active=False)(handler)
"""
AUDIT, BILLING, SLOW = "audit", "billing", "slow"
EU, US, REFUNDS, PAYMENTS = "orders-eu", "orders-us", "refunds", "payments"
ALL = {AUDIT: [EU, PAYMENTS], BILLING: [EU, US], SLOW: [REFUNDS]}

CASES: list[tuple[list[str], "dict[str, list[str]] | int"]] = [
    ([], ALL),
    (["--include-topics", "orders-eu"], {AUDIT: [EU], BILLING: [EU]}),
    (["--include-topics", "orders-eu,refunds"], {AUDIT: [EU], BILLING: [EU], SLOW: [REFUNDS]}),
    (["--include-topics", "orders-*"], {AUDIT: [EU], BILLING: [EU, US]}),
    (["--include-topics", " orders-us , payments ,"], {AUDIT: [PAYMENTS], BILLING: [US]}),
    (["--exclude-topics", "orders-*"], {AUDIT: [PAYMENTS], SLOW: [REFUNDS]}),
    (["--exclude-topics", "orders-eu,payments"], {BILLING: [US], SLOW: [REFUNDS]}),
    (["--include-topics", "orders-eu", "--exclude-topics", "orders-*"], {AUDIT: [EU], BILLING: [EU]}),
    (["--include-consumer-groups", "audit"], {AUDIT: [EU, PAYMENTS]}),
    (["--exclude-consumer-groups", "audit"], {BILLING: [EU, US], SLOW: [REFUNDS]}),
    (["--include-consumer-groups", "b*"], {BILLING: [EU, US], SLOW: [REFUNDS]}),
    (["--include-consumer-groups", "audit", "--exclude-consumer-groups", "*"], {AUDIT: [EU, PAYMENTS]}),
    (["--include-subscription-groups", "slow"], {SLOW: [REFUNDS]}),
    (["--exclude-subscription-groups", "slow,audit"], {BILLING: [EU, US]}),
    (["--include-consumer-groups", "billing", "--exclude-subscription-groups", "slow"], {BILLING: [EU, US]}),
    (["--include-consumer-groups", "billing", "--exclude-topics", "orders-us"], {BILLING: [EU], SLOW: [REFUNDS]}),
    (["--include-topics", "archived"], 2),  # inactive: nothing is left
    (["--include-topics", "order-eu"], 2),
    (["--exclude-topics", "*"], 2),
    (["--include-consumer-groups", "audit", "--include-topics", "refunds"], 2),  # each exists, not together
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "filtered_shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    yield
    sys.modules.pop("filtered_shop", None)


def chosen(command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> "dict[str, list[str]] | int":
    """What the command is about to run when it has decided; or its exit code."""
    seen: list[Any] = []

    def named_servers(outline: Any) -> str:
        seen.append(outline.topics)
        raise UsageError("decided")

    monkeypatch.setattr(preflight, "named_servers", named_servers)
    sys.modules.pop("filtered_shop", None)
    with pytest.raises(SystemExit) as ended:
        program([command, "filtered_shop:app", "--control", "off", *arguments])
    return seen[0] if seen else int(str(ended.value.code))


def test_there_are_twenty_cases() -> None:
    assert len(CASES) == 20


@pytest.mark.parametrize(
    ("arguments", "expected"), CASES, ids=[" ".join(arguments) or "none" for arguments, _ in CASES]
)
@pytest.mark.parametrize("command", ["swarm", "server"])
def test_a_case_chooses_the_same_in_both_commands(
    command: str, arguments: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(command, arguments, monkeypatch) == expected


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_filters_of_environment_and_file_choose_the_same(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if place == "environment":
        monkeypatch.setenv("SWARM_INCLUDE_TOPICS", "orders-*")
        monkeypatch.setenv("SWARM_EXCLUDE_CONSUMER_GROUPS", "audit")
    else:
        (tmp_path / "swarm.toml").write_text('include-topics = ["orders-*"]\nexclude-consumer-groups = "audit"\n')
    assert chosen(command, [], monkeypatch) == {BILLING: [EU, US]}
