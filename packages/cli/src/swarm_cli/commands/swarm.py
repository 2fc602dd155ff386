"""`swarm-cli swarm APP`: one supervisor, N nodes."""

import logging

from swarm_cli.exit_codes import ExitCode
from swarm_cli.settings import Settings

logger = logging.getLogger("swarm_cli")

SUPERVISOR_SETTINGS = (
    "on_crash_loop",
    "shutdown_timeout",
    "node_restart_delay",
    "boot_timeout",
    "node_report_timeout",
    "liveness_interval",
)


def swarm(app: str, settings: Settings) -> int:
    """Run APP on N nodes under one supervisor.

    The application is loaded once; the nodes are forked from it and share its memory. INT and TERM stop in order, a
    second one at once; TSTP quiets; USR2 restarts the nodes one by one; TTIN dumps every thread's stack. Each option
    also reads SWARM_<OPTION>.

    Example: swarm-cli swarm my_app:app --nodes 4
    """
    from swarm_cli import budgets, composition, logs, preflight
    from swarm_cli.control_path import control_path
    from swarm_supervisor import Supervisor
    from swarm_supervisor.cpus import available_cpus

    logs.configure("supervisor", settings.log_level, settings.log_format)
    application, selection = composition.configured_app(app, settings)
    listener = composition.liveness(settings)
    nodes = available_cpus() if settings.nodes in (None, "auto") else int(settings.nodes or 1)
    supervisor = Supervisor(
        composition.NodeTarget(application, selection, settings, listener),
        nodes=nodes,
        name=application.client_id,
        control_socket=control_path(settings.control),
        **settings.given(*SUPERVISOR_SETTINGS),
    )
    groups = selection.apply(application.subscription_groups())
    times = supervisor.settings
    budgets.check(
        settings.drain_timeout or budgets.DRAIN_TIMEOUT_S, times.shutdown_timeout, times.node_report_timeout, groups
    )
    for warning in budgets.static_membership(times.node_restart_delay, times.restart_delay_max, groups):
        logger.warning("%s", warning)
    listener.before_fork(nodes)
    try:
        with preflight.interruptible():
            preflight.examine(preflight.ask_in_child(application, selection), groups, nodes, settings)
    except preflight.Interrupted:
        return ExitCode.CLEAN
    return supervisor.run()
