"""The project's own guard: where a real Kafka broker is required, a full run must have had tests of it."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Under nohup a hang-up is ignored, and stays so in every process that a test starts (execve(2)).
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# On a machine that others use too, how long one example takes says nothing: pytest-timeout bounds every test.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


class Guard:
    """Counts the tests that ran with a real broker, and fails a full run that had none."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Of reports, not of collected items: with workers the process that ends the run collects nothing itself.
        self.ran += report.when == "call" and not report.skipped and "real_kafka" in report.keywords

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        config = self.config
        # "Full" means: nothing was named and nothing was selected, as `hatch run test` and .ci/run start it.
        full = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        selected = config.option.keyword or config.option.markexpr or config.option.collectonly
        required = os.environ.get("SWARM_REQUIRE_KAFKA") == "1"
        if required and full and not selected and not self.ran:
            reporter = config.pluginmanager.get_plugin("terminalreporter")
            assert reporter is not None
            reporter.write_line("SWARM_REQUIRE_KAFKA=1, and no test of a real Kafka broker ran.", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Guard the run where it ends: not in a worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Guard(config))


LOG_TAIL_BYTES = 8_000
"""How much of each log a failed test shows: its end, where the reason is."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what failed keep the logs of its swarm: the end of every log in its folder is part of the report."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and isinstance(folder, Path):
        for path in sorted(folder.glob("*.log")):
            text = path.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
            report.sections.append((f"the end of {path.name}", text))
    return report
