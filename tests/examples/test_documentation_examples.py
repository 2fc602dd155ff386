"""The pages under docs/: their code is files that run, what they point at exists, and they stay short."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from swarm_cli.main import program
from swarm_consumer.testing import EmbeddedBroker, KafkaBroker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = sorted((ROOT / "docs").glob("*.md"))
ANSWERED = (
    "quick-start.md", "concepts.md", "signals.md", "tuning.md", "memory.md", "kubernetes.md", "configuration.md",
    "exit-codes.md", "comparison.md", "non-goals.md", "metrics.md", "operations.md", "administration.md", "testing.md",
    "fork-safety.md", "security.md", "guarantees.md", "hooks.md", "payloads.md",
)  # fmt: skip
"""The pages of the questions that a user has."""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=EXAMPLES,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_pages_are_there() -> None:
    assert {*ANSWERED} <= {page.name for page in PAGES}


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES} <= linked


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_a_link_into_a_page_finds_its_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", page.read_text(encoding="utf-8")):
        headings = re.findall(r"^#+ (.*)", (page.parent / target if target else page).read_text(encoding="utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{page.name} → {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_under_200_lines(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_a_page_is_a_file_that_is_tested(page: Path) -> None:
    files = [path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")]
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        assert any(block in text for text in files), f"{page.name} shows code that is in no file:\n{block}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_at_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:docs|examples|tests|packages|deploy)/[\w./*@-]*[\w*]", text)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [path for path in paths if not list(ROOT.glob(path))]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def invocations(text: str) -> Iterator[list[str]]:
    """The words after `swarm-cli`, of each piece of code: spans, and lines of blocks."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (?:\$ )?(.*)$", text, re.MULTILINE)
    for code in [*re.findall(r"`([^`\n]+)`", text), *indented, *"\n".join(fenced).splitlines()]:
        for words in re.findall(r"(?:^|[\s(])swarm-cli ([^|;&#`]*)", code):
            yield words.split()


def unknown(words: list[str]) -> str | None:
    """The first word of a command line that names no command or option that there is."""
    command: Any = get_command(program)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    return next((word for word in words if word.startswith("--") and word.partition("=")[0] not in options), None)


PAGES_AND_READMES = [*PAGES, ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]


@pytest.mark.parametrize("page", PAGES_AND_READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_on_a_page_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in re.findall(r"\bbenchmarks\.(\w+)", text) if not benchmark(name)] == []
    wrong = {" ".join(words): name for words in invocations(text) if (name := unknown([*words])) is not None}
    assert not wrong


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    page = "`swarm-cli bogus`\n\n    $ swarm-cli swarm a:b --nods 3 | cat\n    swarm-cli topics plan --json # fine\n"
    assert [unknown(words) for words in invocations(page)] == ["bogus", "--nods", None]


def benchmark(name: str) -> bool:
    return (ROOT / "benchmarks" / f"{name}.py").exists() or (ROOT / "benchmarks" / name).is_dir()


def test_the_tests_on_the_pages_pass() -> None:
    tests = sorted(path.name for path in EXAMPLES.glob("test_*.py"))
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, *tests, PYTHONPATH=str(EXAMPLES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= len(tests)


def test_the_test_of_the_quick_start_passes_as_the_page_says() -> None:
    page = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
    assert "`cd docs/examples`, then `hatch run python -m pytest test_orders.py`" in page
    done = run("-m", "pytest", "test_orders.py", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["faults.py", "connect_in_node.py"])
def test_a_script_on_a_page_runs(name: str) -> None:
    done = run(name)
    assert done.returncode == 0, done.stderr


@pytest.mark.real_kafka
def test_the_real_broker_of_the_page_is_killed_and_comes_back(kafka_broker: KafkaBroker) -> None:
    if "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        pytest.skip("KAFKA_BOOTSTRAP_SERVERS names a cluster that is not to be killed")
    done = run("real_broker.py")
    assert done.returncode == 0, done.stderr


def test_the_plan_on_the_page_is_what_the_command_prints(embedded_broker: EmbeddedBroker) -> None:
    embedded_broker.create_topic("orders", partitions=4)
    done = run(
        "-m", "swarm_cli", "topics", "plan", "declared_topics:app", KAFKA_BOOTSTRAP_SERVERS=embedded_broker.bootstrap
    )
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "administration.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\$ swarm-cli topics plan my_app:app\n((?:    .+\n)+)", page)
    assert done.stdout == re.sub(r"^    ", "", shown, flags=re.MULTILINE)


def test_the_supervised_count_of_the_concepts_replaces_a_killed_node() -> None:
    process = subprocess.Popen(
        [sys.executable, "count.py"], cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        started = [running(process.stdout.readline()) for _ in range(2)]
        assert {node for node, _ in started} == {"0", "1"}
        node, pid = started[0]
        os.kill(int(pid), signal.SIGKILL)
        assert re.match(rf"node {node} \(pid {pid}, generation 1\) ended after .* SIGKILL", process.stdout.readline())
        assert re.match(rf"node {node} restarts ", process.stdout.readline())
        assert running(process.stdout.readline())[0] == node
        process.terminate()
        ends = process.stdout.read().splitlines()
        assert len(ends) == 2
        assert all("exited with code 0" in line for line in ends)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def running(line: str) -> tuple[str, str]:
    found = re.match(r"node (\d+) \(pid (\d+)\) is running", line)
    assert found is not None, line
    return found[1], found[2]
