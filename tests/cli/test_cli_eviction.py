"""Where members of nodes that died are removed, and what a start and `info` say of it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarm_cli import eviction
from swarm_consumer import App, Selection

MISSING = "kafka-python is not installed (pip install 'swarm-cli[evict]')"
GSSAPI = {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "GSSAPI"}


def app_of(**properties: Any) -> App:
    given = {name.replace("_", "."): value for name, value in properties.items()}
    app = App("shop", {"bootstrap.servers": "one:9092", **given})
    app.consume("orders", group="pricing")(lambda messages: None)
    return app


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_consumer.eviction.missing", lambda extra="": "")


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "kafka-python is not installed (pip install '{}')"
    monkeypatch.setattr("swarm_consumer.eviction.missing", text.format)


ON = "on: a successor removes the member of a node that died"
CASES = [
    ({}, (), True, ON),
    ({}, {"classic"}, True, eviction.NOT_NEEDED),
    ({"group_instance_id": "shop"}, (), True, eviction.NOT_NEEDED),
    ({"group_protocol": "consumer"}, {"classic"}, True, ON),
    ({"group_protocol": "consumer", "group_instance_id": "shop"}, (), True, ON),
    (
        {"group_protocol": "consumer"}, (), False,
        "off: without progress memory no successor knows the member of a node that died",
    ),
    (
        {"group_protocol": "consumer", "group_instance_id": "shop"}, (), False,
        "on, but only for nodes that are scaled away: without progress memory no successor knows the member",
    ),
]  # fmt: skip


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("properties", "static", "remembered", "said"), CASES)
def test_what_is_said_of_a_group(properties: Any, static: Any, remembered: bool, said: str) -> None:
    app, terms = app_of(**properties), eviction.Terms(static=frozenset(static), remembered=remembered)
    states = eviction.states(app, app.subscription_groups(), terms)
    assert states == {"pricing": said}
    assert list(eviction.remarks(app, app.subscription_groups(), terms)) == []


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize(
    ("properties", "static", "remembered", "level", "words"),
    [
        ({}, (), True, logging.INFO, "a node that is killed keeps its partitions of pricing until its session ends"),
        ({}, (), False, None, ""),  # it would not help
        ({"group_instance_id": "shop"}, (), True, None, ""),
        ({}, {"classic"}, True, None, ""),
        ({"group_protocol": "consumer"}, {"classic"}, True, logging.INFO, "a node that is killed"),
        ({"group_protocol": "consumer", "group_instance_id": "shop"}, (), True, logging.WARNING, "is scaled away"),
        ({"group_protocol": "consumer", "group_instance_id": "shop"}, (), False, logging.WARNING, "is scaled away"),
    ],
)
def test_a_start_without_the_extra_says_what_to_install_and_what_happens_otherwise(
    properties: Any, static: Any, remembered: bool, level: int | None, words: str
) -> None:
    app, terms = app_of(**properties), eviction.Terms(static=frozenset(static), remembered=remembered)
    said = list(eviction.remarks(app, app.subscription_groups(), terms))
    assert [found for found, _ in said] == ([] if level is None else [level])
    for _, text in said:
        assert words in text
        assert text.endswith(MISSING)
    assert not any(state.startswith("on") for state in eviction.states(app, app.subscription_groups(), terms).values())


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize("supervised", [True, False])
def test_only_a_start_of_a_swarm_says_it(caplog: pytest.LogCaptureFixture, supervised: bool) -> None:
    from swarm_cli import composition
    from swarm_supervisor import Settings

    caplog.set_level(logging.INFO)
    app = app_of(group_protocol="consumer")
    outline = composition.outline(
        lambda: (app, Selection()), Settings(), None, eviction.Terms() if supervised else None
    )
    assert not outline.evicts_at_stop
    assert (MISSING in caplog.text) == supervised


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("properties", "static", "at_a_stop"),
    [
        ({"group_protocol": "consumer"}, frozenset({"classic"}), False),  # a successor loads it if it needs it
        ({"group_protocol": "consumer"}, frozenset({"classic", "consumer"}), True),
        ({"group_protocol": "consumer", "group_instance_id": "rack"}, frozenset(), True),
        ({"group_instance_id": "rack"}, frozenset(), False),
        ({}, frozenset(), False),
    ],
)
def test_a_start_of_a_swarm_loads_the_library_only_for_removals_while_it_stops(
    properties: dict[str, str], static: frozenset[str], at_a_stop: bool
) -> None:
    from swarm_cli import composition
    from swarm_supervisor import Settings

    terms = eviction.Terms(static=static)
    found = composition.outline(lambda: (app_of(**properties), Selection()), Settings(), None, terms)
    assert found.evicts_at_stop == at_a_stop
    assert not composition.outline(lambda: (app_of(**properties), Selection()), None, None).evicts_at_stop


@pytest.mark.usefixtures("installed")
def test_properties_that_cannot_be_carried_over_are_said_and_that_group_goes_without() -> None:
    app = app_of(**GSSAPI)
    app.consume("parcels", group="sorting", kafka={"security.protocol": "plaintext"})(lambda messages: None)
    groups = {group.consumer_group: group.name for group in app.subscription_groups()}
    states = eviction.states(app, app.subscription_groups(), eviction.Terms())
    assert states[groups["pricing"]].startswith("off: of sasl.mechanisms only PLAIN")
    assert states[groups["sorting"]].startswith("on")
    ((level, text),) = eviction.remarks(app, app.subscription_groups(), eviction.Terms())
    assert (level, "GSSAPI" in text) == (logging.INFO, True)
    evictor = eviction.evictor(app, Selection(), 1)
    assert evictor is not None
    assert list(evictor._groups) == [groups["sorting"]]
    assert evictor._groups[groups["sorting"]].settings["client_id"] == "shop-1-evict"


@pytest.mark.usefixtures("installed")
def test_without_a_group_to_reach_there_is_nothing_to_give_to_a_node() -> None:
    assert eviction.evictor(app_of(**GSSAPI), Selection(), 1) is None


def test_without_the_extra_there_is_nothing_to_give_to_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_consumer.eviction.missing", lambda: MISSING)
    assert eviction.evictor(app_of(), Selection(), 1) is None


def test_a_library_that_cannot_be_imported_stops_no_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "kafka.admin", None)
    eviction.preload()
    assert "kafka-python cannot be imported" in caplog.text


@pytest.mark.parametrize("as_json", [False, True])
def test_info_says_it_of_each_subscription_group(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "shop.py").write_text(
        "from swarm_consumer import App\n"
        "app = App('shop', {'bootstrap.servers': 'one:9092', 'group.protocol': 'consumer'})\n"
        "app.consume('orders', group='pricing')(lambda messages: None)\n"
    )
    command = [sys.executable, "-m", "swarm_cli", "info", "shop:app", *(["--json"] if as_json else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    if as_json:
        facts = json.loads(done.stdout)
        said = facts["eviction"]["pricing"]
        assert facts["versions"]["kafka-python"]
    else:
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("Removal of members that died: ")]
        said = line.partition(": ")[2]
    assert said == "on: a successor removes the member of a node that died"
