"""The account of the second group, from lines and letters, and the application that writes them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.audit import POISON_EVERY, Audit, Hooked, Written, is_poison, parse
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.records import Numbered, decode, encode
from swarm_consumer.testing import Record, produce, read_all

ROOT = Path(__file__).resolve().parent.parent.parent
POISON = POISON_EVERY // 2


def record(sequence: int) -> Numbered:
    return Numbered("k1", sequence, 0)


def audit_of(*lines: str, hooks: bool = True) -> Audit:
    audit = Audit()
    for line in lines:
        audit.enter(line)
    for name in ("initialized", "tick", "revoked", "shutdown") if hooks else ():
        audit.enter(Hooked(1.0, name).line())
    return audit


def test_lines_come_back_as_they_were() -> None:
    for one in (Written(3, 17), Hooked(1.5, "tick")):
        assert parse(one.line()) == one
    with pytest.raises(ValueError, match="not a line"):
        parse("W 1")


def test_what_was_written_and_what_is_a_letter_is_accounted_for() -> None:
    produced = [(0, 0, record(0)), (0, 1, record(POISON)), (0, 2, record(2))]
    audit = audit_of("W 0 0\n", "W 0 2\n", "W 0 2\n")
    assert audit.missing(produced) == 0
    assert audit.problems(produced) == ["second group: 1 poison records are no dead letter: partition 0 offset 1"]
    audit.letter(0, 1)
    assert audit.problems(produced) == []
    assert (audit.written, audit.repeated) == (2, 1)


def test_a_record_that_was_passed_a_wrong_letter_and_a_missing_hook_are_found() -> None:
    produced = [(0, 0, record(0)), (0, 1, record(1)), (0, 2, record(POISON))]
    audit = audit_of("W 0 2\n", hooks=False)
    audit.letter(0, 1)
    audit.letter(0, 2)
    assert audit.missing(produced) == 2
    found = audit.problems(produced)
    assert "1 records were passed and never written: partition 0 offset 0" in found[0]
    assert "partition 0 offset 1 is sound and is a dead letter" in found[1]
    assert "partition 0 offset 2 is poison and was written" in found[2]
    assert any("the hook tick was never called" in one for one in found)


@pytest.mark.parametrize("sabotage", ["", "mark-only", "drop-poison"])
def test_only_an_honest_bulk_writer_has_a_clean_account(embedded_broker: Any, tmp_path: Path, sabotage: str) -> None:
    topic = f"chaos-audit-{sabotage or 'honest'}"
    dead = f"{topic}-dead"
    embedded_broker.create_topic(topic, 1)
    embedded_broker.create_topic(dead, 1)
    values = [encode("k1", number, b"x") for number in range(POISON - 20, POISON + 20)]
    places = produce(embedded_broker.bootstrap, topic, [Record(value, partition=0) for value in values])
    produced = [(*place, decode(value)) for place, value in zip(places, values, strict=True)]
    log = tmp_path / "audit.log"
    log.touch()
    arguments = ["server", "benchmarks.chaos.two_groups:app", "--bootstrap-servers", embedded_broker.bootstrap]
    for key, value in embedded_broker.client_settings().items():
        if key != "bootstrap.servers":
            arguments += ["--kafka", f"{key}={value}"]
    environment = {
        "CHAOS_LOG": str(tmp_path / "handled.log"), "CHAOS_ORDERS": str(tmp_path), "CHAOS_TOPIC": topic,
        "CHAOS_GROUP": topic, "CHAOS_SECONDS_PER_RECORD": "0", "CHAOS_AUDIT_LOG": str(log),
        "CHAOS_AUDIT_GROUP": f"{topic}-audit", "CHAOS_DEAD_TOPIC": dead, "CHAOS_AUDIT_SABOTAGE": sabotage,
    }  # fmt: skip
    with (tmp_path / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "swarm_cli", *arguments], cwd=ROOT, env=os.environ | environment,
            stdout=output, stderr=output,
        )  # fmt: skip

    def audited() -> Audit:
        audit = audit_of(*log.read_text().splitlines(), hooks=False)
        for letter in read_all(embedded_broker.bootstrap, dead):
            headers = dict(letter.headers)
            audit.letter(int(headers["swarm-source-partition"] or -1), int(headers["swarm-source-offset"] or -1))
        return audit

    def settled() -> bool:
        audit = audited()
        return audit.hooks["tick"] >= 3 and (
            bool(sabotage) or not [one for one in audit.problems(produced) if "hook" not in one]
        )

    try:
        assert wait_until(settled, 60.0, 0.3), (tmp_path / "server.log").read_text()
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (tmp_path / "server.log").read_text()
    finally:
        server.kill()
        server.wait()
    found = [one for one in audited().problems(produced) if "hook revoked" not in one]
    assert bool(found) == bool(sabotage), found
    assert any("never written" in one for one in found) == (sabotage == "mark-only")
    assert any("no dead letter" in one for one in found) == (sabotage == "drop-poison")
    assert sum(is_poison(one) for _, _, one in produced) == 1


@pytest.mark.parametrize("module", ["benchmarks.chaos", "benchmarks.soak", "benchmarks.static_membership"])
def test_a_proof_that_could_not_be_run_does_not_exit_with_0(module: str, tmp_path: Path) -> None:
    """Without Java and Maven nothing is proved."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "SWARM_"))}
    environment |= {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Java" in done.stderr or "java" in done.stderr
