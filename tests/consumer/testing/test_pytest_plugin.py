"""The pytest plugin, in pytest sessions of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_CONFTEST = Path(__file__).parents[2] / "conftest.py"


@pytest.fixture
def run_pytest(tmp_path):
    """Run pytest on the given test file in an empty project, without Java unless the environment says otherwise."""

    def run(source, *arguments, environment=None):
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\naddopts = --strict-markers\n")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SWARM_", "KAFKA_", "PYTEST_"))}
        clean |= {"PATH": str(tmp_path / "no-programs"), "JAVA_HOME": ""}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsf", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**clean, **(environment or {})}, capture_output=True, text=True, timeout=60
        )

    return run


USES_KAFKA = "def test_it(kafka_broker):\n    assert False, 'must not run'\n"


def test_without_java_the_test_is_skipped_with_the_reason(run_pytest):
    done = run_pytest(USES_KAFKA)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "needs Java 17 or newer, and there is no 'java' on PATH" in done.stdout


def test_where_kafka_is_required_the_skip_is_a_failure(run_pytest):
    done = run_pytest(USES_KAFKA, environment={"SWARM_REQUIRE_KAFKA": "1"})
    assert done.returncode == 1
    assert "requires a real Kafka broker, but this test was skipped" in done.stdout
    assert "there is no 'java' on PATH" in done.stdout


def test_where_kafka_is_required_a_skip_inside_a_marked_test_is_a_failure_and_other_skips_are_not(run_pytest):
    source = """
import pytest
@pytest.mark.real_kafka
def test_real():
    pytest.skip("not today")
def test_other():
    pytest.skip("not here")
@pytest.mark.real_kafka
@pytest.mark.xfail(run=False)
def test_expected():
    pass
"""
    done = run_pytest(source, environment={"SWARM_REQUIRE_KAFKA": "1"})
    assert done.returncode == 1
    assert "1 failed, 1 skipped, 1 xfailed" in done.stdout
    assert "not today" in done.stdout


def test_the_marker_selects_tests_that_use_the_fixture(run_pytest):
    done = run_pytest(USES_KAFKA + "def test_other():\n    pass\n", "-m", "not real_kafka")
    assert done.returncode == 0
    assert "1 passed, 1 deselected" in done.stdout


def test_a_session_that_uses_no_fixture_imports_no_client(run_pytest):
    source = """
import sys
def test_it():
    assert "swarm_consumer.testing.pytest_plugin" in sys.modules
    assert not {"confluent_kafka", "swarm_consumer.testing.embedded_broker"} & set(sys.modules)
"""
    done = run_pytest(source)
    assert done.returncode == 0, done.stdout


def test_the_embedded_broker_is_fresh_for_each_test_and_ends_with_it(run_pytest):
    source = """
import os, pytest
seen = []
@pytest.mark.parametrize("number", [1, 2])
def test_it(embedded_broker, topic_name, number):
    embedded_broker.create_topic("the-same")
    names = {topic_name(), topic_name(), topic_name("orders")}
    assert len(names) == 3
    assert sum(name.startswith("orders-") for name in names) == 1
    seen.append(embedded_broker.pid)
def test_after():
    assert len(set(seen)) == 2
    for pid in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
"""
    done = run_pytest(source)
    assert done.returncode == 0, done.stdout


def test_a_full_run_of_the_project_without_real_kafka_tests_fails_where_they_are_required(run_pytest, tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(PROJECT_CONFTEST.read_text())
    source = "def test_it():\n    pass\n"
    required = {"SWARM_REQUIRE_KAFKA": "1"}
    done = run_pytest(source, environment=required)
    assert done.returncode == 1
    assert "no test of a real Kafka broker ran" in done.stdout
    assert run_pytest("import pytest\n@pytest.mark.real_kafka\n" + source, environment=required).returncode == 0
    assert run_pytest(source).returncode == 0
    assert run_pytest(source, "tests/test_it.py", environment=required).returncode == 0
    assert run_pytest(source, "-k", "it", environment=required).returncode == 0
