"""The README: its examples run against a broker, and its settings and names are those that there are."""

import dataclasses
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_consumer import admin
from swarm_consumer.routing.settings import TopicSettings
from swarm_consumer.testing import await_committed, committed_offsets, produce

README = (Path(__file__).parents[2] / "packages" / "consumer" / "README.md").read_text()


def test_the_example_consumes_and_stops(embedded_broker, tmp_path):
    example, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "localhost:9092" in example
    (tmp_path / "app.py").write_text(
        example.replace('"localhost:9092"', f'"{embedded_broker.bootstrap}", "group.protocol": "consumer"')
    )
    embedded_broker.create_topic("flights", 2)
    produce(embedded_broker.bootstrap, "flights", [{"carrier": "UA", "delay": delay} for delay in range(5)])
    process = subprocess.Popen([sys.executable, "-u", "app.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        lines = sorted(process.stdout.readline() for _ in range(5))
        assert lines == [f"UA {delay}\n" for delay in range(5)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        await_committed(embedded_broker.bootstrap, "delays", "flights")
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_every_setting_of_a_topic_has_a_row():
    table = README[README.index("## Settings") : README.index("## In a consumer")]
    rows = [name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    missing = [field.name for field in dataclasses.fields(TopicSettings) if field.name not in rows]
    assert not missing


def test_the_example_of_administration_makes_a_topic_and_moves_a_group(kafka_broker, topic_name):
    _, example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    topic, group = topic_name("flights"), topic_name("delays")
    script = example.replace('"flights"', f'"{topic}"').replace('"delays"', f'"{group}"')
    assert "localhost:9092" in script
    script = script.replace("localhost:9092", kafka_broker.bootstrap)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2 partitions", f"{topic} 0 None -> 0", f"{topic} 1 None -> 0"]
    assert committed_offsets(kafka_broker.bootstrap, group, topic) == {0: 0, 1: 0}


def test_every_public_name_of_administration_is_in_its_section():
    section = README[README.index("## Administration") : README.index("## For a supervisor")]
    kinds = (admin.Cluster, admin.GroupOffsets, admin.GroupLag, admin.PartitionOffsets, admin.Position)
    names = {*dir(admin), *(name for kind in kinds for name in vars(kind) if callable(getattr(kind, name)))}
    missing = {name for name in names if not name.startswith("_")} - set(re.findall(r"\w+", section))
    assert not missing
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        admin.Nothing  # noqa: B018  what is tested
    assert all(getattr(admin, name) is not None for name in dir(admin))
