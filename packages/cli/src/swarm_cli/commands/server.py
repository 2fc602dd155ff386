"""`swarm-cli server APP`: one process, the same options, no supervisor."""

import logging
import os
import sys
from typing import TYPE_CHECKING

from swarm_cli.exit_codes import ExitCode
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_health import NodeStatistics


def server(app: str, settings: Settings) -> int:
    """Run APP in this one process, with the options of `swarm`.

    INT and TERM stop in order, TSTP quiets. The options that concern nodes and their supervisor have no effect here.
    Each option also reads SWARM_<OPTION>.

    Example: swarm-cli server my_app:app
    """
    from swarm_cli import composition, logs, preflight
    from swarm_consumer import Runtime, check_cluster
    from swarm_consumer.signals import handling

    logs.configure("server", settings.log_level, settings.log_format)
    application, selection = composition.configured_app(app, settings)
    listener = composition.liveness(settings)
    runtime = Runtime(application, selection=selection, **settings.given("drain_timeout"))
    groups = selection.apply(application.subscription_groups())
    try:
        with preflight.interruptible():
            # No fork follows in this process, so it may ask by itself.
            preflight.examine(lambda timeout_s: check_cluster(application, selection, timeout_s), groups, 1, settings)
    except preflight.Interrupted:
        return ExitCode.CLEAN
    listener.before_fork()
    listener.start(runtime, LoggedLiveness())
    try:
        with handling(runtime):
            code = runtime.run()
    finally:
        listener.stop()
    if code == ExitCode.FORCED:
        # A thread is stuck in user code or in the client: leaving by the ordinary way would wait for it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class LoggedLiveness:
    """Where a single process reports: its log. The listener has logged the reason; acting is the platform's part."""

    def healthy(self) -> bool:
        """A beat: nothing to say."""
        return True

    def unhealthy(self, code: int, reason: str) -> bool:
        """An unhealthy verdict, which the listener logs with its reason."""
        return True

    def report(self, statistics: "NodeStatistics") -> bool:
        """Statistics go nowhere in a single process."""
        return True
