"""Connect an application's hooks to the supervisor: warm-up before the fork, and listeners."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swarm_cli.errors import CommandError, UsageError, complain, debugging
from swarm_cli.exit_codes import ExitCode
from swarm_cli.preflight import Interrupted, interruptible
from swarm_cli.suggestion import did_you_mean

if TYPE_CHECKING:
    from swarm_consumer import App
    from swarm_supervisor import Supervisor

logger = logging.getLogger("swarm_cli")


def check(app: App) -> None:
    """Raise UsageError (exit code 2) when a listener names an unknown event; suggest the nearest name."""
    if not app.hooks.swarm:
        return  # `server` loads nothing of the supervisor
    from swarm_supervisor.events import every_event

    known = every_event()
    for hook in app.hooks.swarm:
        if hook.event not in known:
            meant = did_you_mean(hook.event, known, f"there are {', '.join(sorted(known))}.", repr)
            raise UsageError(f"{hook.place}: @app.on_swarm names an unknown supervisor event: {hook.event!r}; {meant}")


def connect(app: App, supervisor: Supervisor) -> None:
    """Have the supervisor call the application's listeners."""
    from swarm_supervisor.events import every_event

    known = every_event()
    for hook in app.hooks.swarm:
        supervisor.on(known[hook.event])(hook.function)


def warn_without_preload(app: App) -> None:
    """Warn about hooks that cannot run: under --no-preload the supervisor never imports the application."""
    if app.hooks.swarm:
        names = ", ".join(sorted({hook.event for hook in app.hooks.swarm}))
        logger.warning("the listeners of @app.on_swarm (%s) are not called under --no-preload: the supervisor does not "
                       "import the application", names)  # fmt: skip


def warm_up(app: App) -> ExitCode | None:
    """Call the application's warm-ups. Return None when they are done, or an exit code when a signal interrupted them.

    Raises CommandError (exit code 1), with the file and line of what failed.
    """
    from swarm_consumer import WarmupError

    try:
        with interruptible():
            app.hooks.warm_up()
    except WarmupError as error:
        if isinstance(error.__cause__, Interrupted):  # raised in the middle of the application's code
            return _interrupted(error.__cause__)
        if debugging():
            raise
        raise CommandError(f"{error} (--debug shows the traceback).") from error
    except Interrupted as interrupted:
        return _interrupted(interrupted)
    return None


def _interrupted(interrupted: Interrupted) -> ExitCode:
    if str(interrupted) != "SIGINT":
        return ExitCode.CLEAN
    complain("interrupted while the application warmed up: nothing was started.")
    return ExitCode.INTERRUPTED


@contextmanager
def clients_refused() -> Iterator[None]:
    """Refuse Kafka clients in this process, the supervisor's; its nodes may make them freely."""
    from swarm_consumer.client_guard import allow_clients, refuse_clients

    refuse_clients()
    try:
        yield
    finally:
        allow_clients()


def check_no_client() -> None:
    """Raise UsageError (exit code 2) for a client that the application made on import anyway."""
    from swarm_supervisor.threads import other_threads

    native = [name for name in other_threads() if name.startswith("rdk:")]
    if native:
        raise UsageError(
            f"the application makes a Kafka client on import (thread {native[0]}), and librdkafka does not survive the "
            f"fork of the nodes: make it in @app.lifespan, or when a node first needs it."
        )
