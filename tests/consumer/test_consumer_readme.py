"""The README: its example runs against a broker and stops as it says, and its settings are those that there are."""

import dataclasses
import re
import signal
import subprocess
import sys
from pathlib import Path

from swarm_consumer.routing.settings import TopicSettings
from swarm_consumer.testing import await_committed, produce

README = (Path(__file__).parents[2] / "packages" / "consumer" / "README.md").read_text()


def test_the_example_consumes_and_stops(embedded_broker, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
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
