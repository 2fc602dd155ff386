"""The README shows files that exist and run."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm_consumer.testing import await_committed, end_offsets, produce

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_example_of_the_readme_is_the_file() -> None:
    shown = re.search(r"<!-- (examples/\S+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[2] == (ROOT / shown[1]).read_text()


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("packages/*/README.md")]
    broken = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_the_two_commands_are_those_of_hatch() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "pip install hatch && hatch run demo" in readme
    assert "pip install hatch && hatch run test" in readme


def test_the_app_of_the_cli_readme_runs_in_a_swarm(
    embedded_broker: Any, start_swarm: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    (app,) = re.findall(r"```python\n(.*?)```", (ROOT / "packages" / "cli" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my_app.py").write_text(app)
    embedded_broker.create_topic("lines", 8)
    produce(embedded_broker.bootstrap, "lines", [b"the quick fox and the lazy dog"] * 20)
    swarm = start_swarm(
        "swarm", "my_app:app", "--nodes", "2", "--bootstrap-servers", embedded_broker.bootstrap,
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip

    def counted() -> bool:
        found = re.findall(r"^process \d+: (\d+) words in (\d+) lines$", swarm.output(), re.MULTILINE)
        return (sum(int(words) for words, _ in found), sum(int(lines) for _, lines in found)) == (80, 20)

    eventually(counted, 30, "20 lines with 4 words each that are no stop words")
    assert swarm.stop() == 0


def test_the_quick_start_does_what_it_says(embedded_broker: Any, start_swarm: Any) -> None:
    examples = ROOT / "docs" / "examples"
    for topic in ("orders", "order-totals"):
        embedded_broker.create_topic(topic, 8)
    address = {"KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap, "PYTHONPATH": str(examples)}
    swarm = start_swarm("swarm", "orders:app", "--nodes", "2", "--kafka", "auto.commit.interval.ms=100", **address)
    sent = subprocess.run(
        [sys.executable, "send_orders.py"], cwd=examples, env=os.environ | address, timeout=60, check=False
    )
    assert sent.returncode == 0
    await_committed(embedded_broker.bootstrap, "totals", "orders", timeout_s=60)
    assert sum(end_offsets(embedded_broker.bootstrap, "order-totals").values()) == 10_000
    lag = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "lag", "orders:app"],
        cwd=examples, env=os.environ | address, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert lag.stdout.splitlines()[-1].split() == ["totals", "(all)", "-", "-", "-", "0"], lag.stderr
    assert swarm.stop() == 0


def test_no_page_says_that_an_index_has_us_without_the_way_that_works() -> None:
    """Wherever a page tells to install a package of ours, it says how that works today."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("packages/*/README.md")]
    for page in pages:
        text = page.read_text()
        if re.search(r"^    pip install '?swarm-", text, re.MULTILINE) or "`pip install swarm-pidfd`" in text:
            assert "--find-links dist swarm-" in text, page
            assert "not on pypi yet" in text.lower(), page
