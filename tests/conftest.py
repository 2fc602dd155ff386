"""The project's own guard: where a real Kafka broker is required, a full run must have had tests of it."""

import os

import pytest

REAL_KAFKA = pytest.StashKey[int]()


def pytest_collection_finish(session):
    found = sum(1 for item in session.items if item.get_closest_marker("real_kafka"))
    session.config.stash[REAL_KAFKA] = found


def pytest_sessionfinish(session):
    config = session.config
    # "Full" means: nothing was named and nothing was selected, as `hatch run test` and .ci/run start it.
    full = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    selected = config.option.keyword or config.option.markexpr or config.option.collectonly
    required = os.environ.get("SWARM_REQUIRE_KAFKA") == "1"
    if required and full and not selected and config.stash.get(REAL_KAFKA, 0) == 0:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line("SWARM_REQUIRE_KAFKA=1, and no test of a real Kafka broker was collected.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
