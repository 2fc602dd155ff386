"""Settings are typed keywords: a typo or a wrong type is an error for mypy --strict, before anything runs."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("mypy")

PROGRAM = """
    from swarm_consumer import App, Batch, Consumer, DeadLetters

    app = App("shop", {}, max_messages=10)
    group = app.group("g", max_wait=1.0)

    @app.topic("orders", group="g2", payload=bytes, max_messages=50, dead_letters=DeadLetters(topic="dead"))
    class Good(Consumer):
        def consume(self, messages: Batch[bytes]) -> None: ...

    @app.consume("a", group="g3", partitions=3, tick_interval=2.0)
    def good(messages: Batch[bytes]) -> None: ...

    App("shop", {}, max_mesages=10)  # wrong
    app.group("h", max_mesages=10)  # wrong
    app.topic("b", max_mesages=50)  # wrong
    app.consume("b", max_mesages=50)  # wrong
    group.topic("b", max_mesages=50)  # wrong
    group.consume("b", group="twice")  # wrong
    app.topic("b", max_messages="50")  # wrong
    app.topic("b", initial_offset="middle")  # wrong
"""


@pytest.mark.timeout(300)
def test_a_typo_in_a_setting_is_a_type_error(tmp_path):
    program = textwrap.dedent(PROGRAM)
    (tmp_path / "shop.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = {number for number, line in enumerate(program.splitlines(), 1) if line.endswith("# wrong")}
    assert {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line} == wrong, done.stdout
