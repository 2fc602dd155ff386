"""Defaults that help texts and pages repeat are those of the code, and pages say what the help says."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from swarm_cli import budgets
from swarm_cli.settings import Settings
from swarm_consumer.routing.dead_letters import DeadLetters
from swarm_consumer.routing.settings import TopicSettings
from swarm_supervisor.settings import Settings as SupervisorSettings

ROOT = Path(__file__).resolve().parent.parent.parent
HELP = {
    name: next(part.help for part in get_args(hint) if hasattr(part, "help"))
    for name, hint in get_type_hints(Settings, include_extras=True).items()
    if get_origin(hint) is Annotated
}
SUPERVISOR = {field.name: field.default for field in dataclasses.fields(SupervisorSettings)}
TOPIC = {field.name: field.default for field in dataclasses.fields(TopicSettings)}


def rows(page: str) -> dict[str, list[str]]:
    """The first cell of each row of the page's tables, without its backquotes -> the other cells."""
    found = {}
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("| "):
            first, *rest = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[first.strip("`")] = rest
    return found


def same(text: str, value: Any) -> bool:
    text = text.strip('"`')
    number = re.match(r"(-?[\d.]+)( MiB)?", text)
    if isinstance(value, bool) or number is None:
        return text.partition(" ")[0].strip("`").lower() == str(value).lower()
    return float(number[1]) * (2**20 if number[2] else 1) == float(value)


@pytest.mark.parametrize("name", [name for name in HELP if name in SUPERVISOR])
def test_a_default_in_a_help_text_is_the_supervisors(name: str) -> None:
    told = re.search(r"\(([\d.]+)", HELP[name])
    value = SUPERVISOR[name]
    if told is None:
        # A choice, a flag, or "auto": the words say what it is, without a number that could be another.
        assert not isinstance(value, float), f"the help of {name} does not name its default, {value:g}"
    else:
        assert float(told[1]) == value


def test_the_drain_timeout_in_the_help_is_the_one_that_budgets_use() -> None:
    assert f"({budgets.DRAIN_TIMEOUT_S:g})" in HELP["drain_timeout"]


def test_the_page_of_all_settings_says_what_the_help_says() -> None:
    told = {name.replace("-", "_"): cells[-1] for name, cells in rows("docs/configuration.md").items()}
    assert {name: told[name] for name in HELP} == HELP


@pytest.mark.parametrize(
    ("page", "defaults"),
    [("packages/supervisor/README.md", SUPERVISOR), ("packages/consumer/README.md", TOPIC)],
)
def test_a_default_in_a_readmes_table_is_that_of_the_code(page: str, defaults: dict[str, Any]) -> None:
    compared = []
    for cell, rest in rows(page).items():
        names = [name.strip(" `") for name in re.split(r"[,/]", cell)]
        if not all(name in defaults for name in names):
            continue
        values = [part.strip() for part in re.split(r",| / ", rest[0])] if len(names) > 1 else [rest[0]]
        for name, text in zip(names, values, strict=True):
            if isinstance(defaults[name], int | float | str) and defaults[name] is not None:
                assert same(text, defaults[name]), f"{page}: {name} is {defaults[name]!r}, not {text!r}"
                compared.append(name)
    assert len(compared) >= 8, compared


def test_the_limits_of_dead_letters_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "retries.md").read_text()
    assert f"`max_ratio` ({DeadLetters.__dataclass_fields__['max_ratio'].default}:" in page
