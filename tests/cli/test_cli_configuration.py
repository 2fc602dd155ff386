"""Where settings come from: every pair of layers, every kind of wrong file, and what `info` says of each source."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_cli.configuration import (
    COMMAND_LINE,
    ENVIRONMENT,
    FileSettings,
    checked,
    option_name,
    read_file,
    resolve,
    variable_name,
)
from swarm_cli.errors import UsageError
from swarm_cli.settings import Settings

APP = """
from swarm_consumer import App
app = App("orders", concurrency=3, kafka={
    "bootstrap.servers": "code:1", "sasl.password": "hunter2", "linger.ms": 1, "session.timeout.ms": 7001,
})
@app.consume("orders", group="billing")
def orders(messages): ...
"""


def run(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "swarm_cli", *arguments],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


LAYERS = ("option", "environment", "file")


@given(present=st.sets(st.sampled_from(LAYERS)), name=st.sampled_from(["nodes", "drain_timeout", "log_level"]))
def test_the_strongest_layer_that_speaks_wins(present: set[str], name: str) -> None:
    values: dict[str, Any] = {
        "nodes": {"option": "1", "environment": "2", "file": "3"},
        "drain_timeout": {"option": 1.0, "environment": 2.0, "file": 3.0},
        "log_level": {"option": "debug", "environment": "error", "file": "warning"},
    }[name]
    strongest = next((layer for layer in LAYERS if layer in present), None)
    spoken = next((layer for layer in ("option", "environment") if layer in present), None)
    parsed = {name: values[spoken]} if spoken else {name: None}
    configuration = resolve(
        parsed,
        lambda setting: setting == name and "option" in present,
        {variable_name(name): str(values["environment"])} if "environment" in present else {},
        FileSettings("swarm.toml", {name: values["file"]} if "file" in present else {}),
    )
    default = {"nodes": None, "drain_timeout": None, "log_level": "info"}[name]
    assert getattr(configuration.settings, name) == (values[strongest] if strongest else default)
    source = {"option": option_name(name), "environment": variable_name(name), "file": "swarm.toml", None: "default"}
    assert configuration.source(name) == source[strongest]


def test_kafka_properties_are_merged_key_by_key() -> None:
    configuration = resolve(
        {"kafka": ["a=1"], "bootstrap_servers": "env:1"},
        lambda name: name == "kafka",
        {"SWARM_KAFKA": "a=2 b=2 'c=two words'", "SWARM_BOOTSTRAP_SERVERS": "env:1"},
        FileSettings("swarm.toml", {"bootstrap_servers": "file:1"}, {"a": "3", "d": "3"}),
    )
    assert configuration.kafka == (
        ("swarm.toml", {"a": "3", "d": "3", "bootstrap.servers": "file:1"}),
        (ENVIRONMENT, {"a": "2", "b": "2", "c": "two words", "bootstrap.servers": "env:1"}),
        (COMMAND_LINE, {"a": "1"}),
    )


def test_a_file_may_use_dashes_lists_and_dotted_properties(tmp_path: Path) -> None:
    (tmp_path / "swarm.toml").write_text(
        'app = "a:b"\nnodes = 4\ndrain-timeout = 30\ninclude_topics = ["a*", "b"]\nallow-missing-topics = true\n'
        '[kafka]\nsession.timeout.ms = 6000\n"linger.ms" = 1.5\nenable.idempotence = true\n'
    )
    settings = read_file(tmp_path)
    assert settings.values == {
        "app": "a:b", "nodes": "4", "drain_timeout": 30.0, "include_topics": "a*,b", "allow_missing_topics": True,
    }  # fmt: skip
    assert settings.kafka == {"session.timeout.ms": "6000", "linger.ms": "1.5", "enable.idempotence": "true"}


def test_the_own_file_wins_over_the_project_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.swarm]\nnodes = 2\n")
    assert read_file(tmp_path) == FileSettings("pyproject.toml [tool.swarm]", {"nodes": "2"})
    (tmp_path / "swarm.toml").write_text("nodes = 3\n")
    assert read_file(tmp_path) == FileSettings("swarm.toml", {"nodes": "3"})


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.ruff]\nline-length = 1\n"])
def test_a_project_file_without_our_table_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_file(tmp_path).values == {}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"node": 1}, "there is no setting 'node'; did you mean nodes?"),
        ({"drain-timeot": 1}, "did you mean drain-timeout?"),
        ({"zzz": 1}, "docs/configuration.md lists all settings"),
        ({"nodes": 0}, "neither a number of nodes"),
        ({"nodes": True}, "nodes must be a string, not True"),
        ({"concurrency": 0}, "not a number of threads"),
        ({"concurrency": 1.5}, "must be a whole number"),
        ({"concurrency": True}, "must be a whole number"),
        ({"drain_timeout": "soon"}, "give seconds as a number"),
        ({"drain_timeout": -1}, "is not a valid amount"),
        ({"drain_timeout": float("nan")}, "is not a valid amount"),
        ({"reload": "yes"}, "must be true or false"),
        ({"log_level": "loud"}, "is not one of debug"),
        ({"memory_share": 2}, "is not a share"),
        ({"include_topics": []}, "must be a string"),
        ({"include_topics": [1]}, "must be a string"),
        ({"app": 1}, "module:attribute"),
        ({"kafka": 1}, "kafka must be a table"),
        ({"kafka": ["=hunter2"]}, "takes KEY=VALUE"),
        ({"kafka": {"a": ["b"]}}, "the Kafka property a must be"),
        ({"log-level": "info", "log_level": "info"}, "is set twice"),
        ([], "is not a table"),
    ],
)
def test_each_wrong_file_is_one_sentence_that_names_file_and_key(table: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked("swarm.toml", table)
    assert says in str(caught.value)
    assert str(caught.value).startswith("swarm.toml")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [b"nodes = ", b"nodes = \xff", b"[tool\n"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "swarm.toml").write_bytes(content)
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_file(tmp_path)


def test_a_password_in_a_badly_quoted_variable_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        resolve({}, lambda _: False, {"SWARM_KAFKA": "sasl.password='hunter2"}, FileSettings("default"))
    assert "SWARM_KAFKA" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_info_shows_each_value_and_where_it_was_set(tmp_path: Path) -> None:
    (tmp_path / "orders_app.py").write_text(APP)
    (tmp_path / "swarm.toml").write_text(
        'app = "orders_app:app"\nnodes = 9\ndrain-timeout = 31\nlog-level = "error"\nmemory-limit = 500\n'
        "kafka.session.timeout.ms = 7002\nkafka.auto.commit.interval.ms = 2\nkafka.heartbeat.interval.ms = 2\n"
    )
    done = run(
        tmp_path, "info", "--json", "--nodes", "2", "--kafka", "auto.commit.interval.ms=4",
        SWARM_DRAIN_TIMEOUT="32", SWARM_NODES="5", SWARM_KAFKA="auto.commit.interval.ms=3 heartbeat.interval.ms=3 "
        "ssl.key.password=hunter3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    expected = {
        "nodes": ("2", "--nodes"),
        "drain_timeout": (32.0, "SWARM_DRAIN_TIMEOUT"),
        "log_level": ("error", "swarm.toml"),
        "memory_limit": (500.0, "swarm.toml"),
        "concurrency": (3, "code"),
        "shutdown_timeout": (60.0, "default"),
        "memory_metric": ("uss", "default"),
    }
    assert {name: tuple(facts["settings"][name].values()) for name in expected} == expected
    properties = {name: tuple(entry.values()) for name, entry in facts["kafka"]["billing"].items()}
    assert properties["bootstrap.servers"] == ("code:1", "App(kafka=...)")
    assert properties["auto.commit.interval.ms"] == ("4", "the command line")
    assert properties["heartbeat.interval.ms"] == ("3", "the environment")
    assert properties["session.timeout.ms"] == ("7002", "swarm.toml")
    assert properties["sasl.password"][0] == properties["ssl.key.password"][0] == "[redacted]"
    assert "hunter" not in done.stdout + done.stderr
    assert facts["versions"]["swarm-cli"]


GIVEN = {
    "nodes": "3", "concurrency": 2, "preload": False, "reload": True, "on_crash_loop": "exit", "max_unavailable": 2,
    "progress_memory": "off",
    "max_restarts": 6, "restart": "on-failure", "threads": "refuse", "subreaper": True,
    "bootstrap_servers": "given:1", "group_instance_id": "pod-1", "membership": "static", "connect_timeout": 7.0,
    "allow_missing_topics": True, "include_topics": "orders", "exclude_topics": "refunds",
    "include_consumer_groups": "billing", "exclude_consumer_groups": "other*",
    "include_subscription_groups": "billing", "exclude_subscription_groups": "other*", "drain_timeout": 31.0,
    "shutdown_timeout": 61.0, "shutdown_grace": 16.0, "node_restart_delay": 3.0, "restart_delay_max": 59.0,
    "first_restart_delay": 2.0,
    "restart_window": 601.0, "stable_after": 58.0, "stack_dump_timeout": 1.0, "boot_timeout": 57.0,
    "node_report_timeout": 56.0, "liveness_interval": 9.0, "statistics_interval": 2.0, "polling_ttl": 55.0,
    "consuming_ttl": 54.0, "stability_ttl": 53.0, "memory_limit": 512.0, "memory_share": 0.5, "memory_metric": "rss",
    "log_level": "debug", "log_format": "json", "probe": "127.0.0.1:8080", "metrics_detail": "node", "control": "off",
}  # fmt: skip
EVERY_SETTING_APP = """
from swarm_consumer import App
app = App("orders", kafka={"bootstrap.servers": "code:1"})
@app.consume("orders", group="billing")
@app.consume("refunds", group="others")
def handle(messages): ...
"""


@pytest.mark.parametrize("layer", ["options", "environment", "file"])
def test_info_shows_every_setting_from_every_layer(tmp_path: Path, layer: str) -> None:
    assert {*GIVEN, "kafka"} == {field.name for field in dataclasses.fields(Settings)}
    (tmp_path / "every_app.py").write_text(EVERY_SETTING_APP)
    arguments, environment = ["info", "every_app:app", "--json"], {}
    secret = "sasl.password=hunter2"
    if layer == "options":
        for name, value in GIVEN.items():
            flag = option_name(name) if value is not False else f"--no-{option_name(name)[2:]}"
            arguments += [flag] if isinstance(value, bool) else [flag, str(value)]
        arguments += ["--kafka", secret]
    elif layer == "environment":
        environment = {variable_name(name): str(value) for name, value in GIVEN.items()} | {"SWARM_KAFKA": secret}
    else:
        lines = [f"{name} = {json.dumps(value)}" for name, value in GIVEN.items()]
        (tmp_path / "swarm.toml").write_text("\n".join([*lines, f'kafka = ["{secret}"]']))
    done = run(tmp_path, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    sources = {"options": option_name, "environment": variable_name, "file": lambda name: "swarm.toml"}
    expected = {name: {"value": value, "source": sources[layer](name)} for name, value in GIVEN.items()}
    told = facts["settings"]
    assert {name: told[name] for name in expected} == expected
    where = {"options": "the command line", "environment": "the environment", "file": "swarm.toml"}[layer]
    assert told["kafka"]["source"] == where
    assert told["kafka"]["value"]["sasl.password"] == {"value": "[redacted]", "source": where}
    assert facts["kafka"].keys() == {"billing"}, "the filters are those of swarm"
    assert facts["kafka"]["billing"]["bootstrap.servers"] == {"value": "given:1", "source": where}
    assert facts["kafka"]["billing"]["group.instance.id"]["value"] == "pod-1_<node>_billing"
    assert "hunter2" not in done.stdout + done.stderr


def test_info_without_an_app_shows_what_is_given(tmp_path: Path) -> None:
    done = run(tmp_path, "info", "--nodes", "4", SWARM_KAFKA="linger.ms=5 ssl.key.password=hunter2")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line]
    assert ["nodes", "4", "--nodes"] in rows
    assert ["linger.ms", "5", "the", "environment"] in rows
    assert ["ssl.key.password", "[redacted]", "the", "environment"] in rows
    assert done.stdout.splitlines()[-1] == "Name APP to see the Kafka properties of its subscription groups."


def test_the_file_of_a_folder_names_the_app_and_a_wrong_key_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "orders_app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text('[tool.swarm]\napp = "orders_app:app"\n')
    done = run(tmp_path, "routes")
    assert done.returncode == 0, done.stderr
    assert "orders_app.orders" in done.stdout
    (tmp_path / "pyproject.toml").write_text("[tool.swarm]\nnods = 1\n")
    done = run(tmp_path, "swarm", "orders_app:app")
    assert done.returncode == 2
    assert done.stderr == ("swarm-cli: pyproject.toml [tool.swarm]: there is no setting 'nods'; did you mean nodes?\n")


def test_the_page_about_configuration_has_every_setting() -> None:
    page = Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md"
    rows = [line.split("|")[1].strip(" `") for line in page.read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(field.name.replace("_", "-") for field in dataclasses.fields(Settings))


def test_the_file_on_the_page_is_one_that_is_taken(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "swarm.toml").write_text(shown)
    settings = read_file(tmp_path)
    assert settings.values == {
        "app": "my_app:app", "nodes": "4", "drain_timeout": 30.0, "include_topics": "orders*,refunds",
        "log_format": "json",
    }  # fmt: skip
    assert settings.kafka == {"bootstrap.servers": "kafka-1:9092,kafka-2:9092", "session.timeout.ms": "30000"}


def test_without_an_app_the_sentence_says_the_three_places(tmp_path: Path) -> None:
    done = run(tmp_path, "server")
    assert done.returncode == 2
    assert "module:attribute" in done.stderr
    assert "SWARM_APP" in done.stderr
    assert run(tmp_path, "info").returncode == 0


@pytest.mark.parametrize(
    ("text", "told"), [("half-of-a-password", "number 2 of them"), ("sasl.password", "'sasl.password'")]
)
def test_only_what_is_a_property_name_is_repeated(text: str, told: str) -> None:
    with pytest.raises(UsageError, match="takes KEY=VALUE, but") as caught:
        resolve({}, lambda _: False, {"SWARM_KAFKA": f"a.b=c {text}"}, FileSettings("default"))
    assert told in str(caught.value)
    assert (text in str(caught.value)) is (text == "sasl.password")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"shutdown-timeout = 1{'0' * 400}", "too large"),
        (f"nodes = 0x{'f' * 4000}", "too large"),
        (f"kafka.a = 0x{'f' * 4000}", "must be a string"),
        (f"nodes = {'9' * 5000}", "is not valid TOML"),
        (f"kafka = {'[' * 3000}", "nested too deeply"),
        (f"kafka.{'a.' * 3000}b = 1", "nested too deeply"),
        ('"\\u001b[2J" = 1', "x1b"),
    ],
    ids=["float", "text", "property", "digits", "arrays", "tables", "control-characters"],
)
def test_a_file_that_only_a_machine_would_write_is_refused_in_a_sentence(
    tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "swarm.toml").write_text(content)
    with pytest.raises(UsageError, match=told) as caught:
        read_file(tmp_path)
    assert str(caught.value).isprintable()
