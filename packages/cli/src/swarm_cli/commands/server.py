"""`swarm-cli server APP`: one process, the same options, no supervisor."""

import logging
import os
import sys
from typing import TYPE_CHECKING

from swarm_cli.configuration import Configuration
from swarm_cli.errors import complain
from swarm_cli.exit_codes import ExitCode
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_cli.reloading import SourceWatch
    from swarm_consumer import ClusterReport
    from swarm_health import NodeStatistics


WITHOUT_EFFECT = tuple(name for name, row in Settings.rows().items() if row.swarm_only)
"""Settings of nodes and their supervisor, accepted so that one environment works for `swarm` and `server`."""


def server(configuration: Configuration) -> int:
    """Run APP in a single process.

    Takes the options of `swarm`; those for nodes and their supervisor have no effect here. INT and TERM stop
    gracefully, TSTP quiets.
    Every option can also be set by SWARM_<OPTION>, swarm.toml or pyproject.toml.

    Example: swarm-cli server my_app:app
    """
    from swarm_cli import logs, reloading

    settings = configuration.settings
    logs.configure("server", settings.log_level, settings.log_format)
    code = reloading.perform(lambda watch: run(configuration, watch), settings.reload)
    if code == ExitCode.FORCED:
        # A thread is stuck in user code or in the client; an ordinary exit would wait for it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def run(configuration: Configuration, watch: "SourceWatch | None") -> int:
    """Consume until stopped or until the watch sees a change. Returns the exit code."""
    from contextlib import ExitStack

    from swarm_cli import application_hooks, composition, preflight
    from swarm_consumer import Runtime, check_cluster
    from swarm_consumer.process.signals import handling

    settings = configuration.settings
    late = (lambda: None) if watch is None else watch.end
    # Until `handling`: as PID 1 a process without a handler does not even notice a TERM.
    with ExitStack() as closing, preflight.ends_when_interrupted("the start was prepared", late) as hand_over:
        with preflight.ends_when_interrupted("the application was imported"):
            application, selection = composition.configured_app(configuration)
        outline = composition.outline(lambda: (application, selection), None, None)
        listener = composition.liveness(settings)
        listener.without_fork()
        runtime = Runtime(application, selection=selection, **settings.given("drain_timeout"))
        # Bound before anything else, so that a port in use is reported at once.
        waits_for = closing.enter_context(
            composition.probes_of_process(listener, runtime, settings, configuration.application)
        )
        ended = application_hooks.warm_up(application)
        if ended is not None:
            return ended

        def ask(timeout_s: float) -> "ClusterReport":
            # No fork follows in this process, so it may ask the brokers itself.
            report = check_cluster(application, selection, timeout_s)
            waits_for("" if preflight.settled(report) else preflight.waiting(servers, report.error))
            return report

        servers = preflight.named_servers(outline)
        waits_for(preflight.waiting(servers))
        try:
            with preflight.interruptible():
                preflight.examine(ask, outline, 1, settings)
        except preflight.Interrupted as interrupted:
            if str(interrupted) != "SIGINT":
                return ExitCode.CLEAN
            complain(preflight.interruption(servers))
            return ExitCode.INTERRUPTED
        composition.say_settings(settings, listener, {})
        listener.start(runtime, LoggedLiveness())
        try:
            with handling(runtime if watch is None else watch.stop_runtime_at_change(runtime)):
                hand_over()
                return runtime.run()
        finally:
            listener.stop()


class LoggedLiveness:
    """A single process reports to its log. The listener has logged the reason; acting on it is left to the platform."""

    def healthy(self) -> bool:
        """Ignore a beat."""
        return True

    def unhealthy(self, code: int, reason: str) -> bool:
        """Ignore an unhealthy verdict: the listener logs it with its reason."""
        return True

    def report(self, statistics: "NodeStatistics") -> bool:
        """Ignore statistics: a single process has no supervisor to send them to."""
        return True
