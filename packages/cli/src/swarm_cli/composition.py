"""How the packages fit together: what a node runs, and what a single process runs. No decisions are made here."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from swarm_cli import __version__, eviction, logs
from swarm_cli.configuration import Configuration, option_name
from swarm_cli.errors import CommandError, UsageError
from swarm_cli.exit_codes import ExitCode
from swarm_cli.outline import Outline
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_consumer import App, Runtime, Selection
    from swarm_consumer.progress import ProgressMemory
    from swarm_consumer.routing import StaticIds
    from swarm_liveness import LivenessListener
    from swarm_liveness.metrics_table import Detail
    from swarm_supervisor import Node, Supervisor

logger = logging.getLogger("swarm_cli")

Load = Callable[[], "tuple[App, Selection]"]

IMPORT_TIMEOUT_S = 120.0
"""How long the import of the application in a child may take under --no-preload, so that its time can be reported."""


def import_timeout_s(times: Any) -> float:
    """How long the import in a child may take; each node has the supervisor's boot_timeout (`times`)."""
    return max(IMPORT_TIMEOUT_S, float(times.boot_timeout))


def configured_app(configuration: Configuration) -> tuple[App, Selection]:
    """The application with the properties from file, environment and command line, and the part of it to run.

    Raises UsageError or ConfigurationError, both exit code 2, before anything is started.
    """
    app = overridden_app(configuration)
    selection = selected(configuration.settings)
    selection.check(app)
    return app, selection


def overridden_app(configuration: Configuration) -> App:
    """The application with the settings that override its own. Raises UsageError or ConfigurationError."""
    from swarm_cli.loading import load_app

    app = load_app(configuration.application)
    logs.settle()
    for where, properties in configuration.kafka:
        if properties:
            app.override(properties, where)
    if configuration.settings.concurrency is not None:
        app.concurrency = configuration.settings.concurrency
    return app


def selected(settings: Settings) -> Selection:
    """The filters as a Selection."""
    from swarm_consumer import Selection

    names = [field.name for field in dataclasses.fields(Selection)]
    return Selection(**{name: listed(name, getattr(settings, name)) for name in names})


def listed(name: str, text: str | None) -> tuple[str, ...]:
    """The parts of a comma-separated list. Raises UsageError for an empty one."""
    if text is None:
        return ()
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise UsageError(f"{option_name(name)} is empty: give names or globs, separated by commas.")
    return parts


def outline(load: Load, times: Any, drain_timeout: float | None, terms: eviction.Terms | None = None) -> Outline:
    """Load the application, check its times against the supervisor's (`times`), and describe it.

    times, terms: None for one process without a supervisor. Raises UsageError or ConfigurationError.
    """
    from swarm_cli import application_hooks, budgets

    app, selection = load()
    application_hooks.check(app)
    groups = selection.apply(app.subscription_groups())
    evicts = False
    if times is not None:
        drain_timeout = budgets.DRAIN_TIMEOUT_S if drain_timeout is None else drain_timeout
        budgets.check(drain_timeout, times.shutdown_timeout, times.node_report_timeout, groups)
        for warning in budgets.static_membership(times.node_restart_delay, times.restart_delay_max, groups):
            logger.warning("%s", warning)
    if terms is not None:
        for level, remark in eviction.remarks(app, groups, terms):
            logger.log(level, "%s", remark)
        evicts = eviction.is_due_at_a_stop(app, groups, terms)
    named = {
        str(group.properties["bootstrap.servers"].value) for group in groups if "bootstrap.servers" in group.properties
    }
    return Outline(
        client_id=app.client_id,
        servers=sorted(named),
        topics={group.name: list(group.topics) for group in groups},
        evicts_at_stop=evicts,
        members={
            group.consumer_group: group.protocol for group in groups if "group.instance.id" not in group.properties
        },
    )


def outline_in_child(load: Load, times: Any, drain_timeout: float | None, terms: eviction.Terms) -> Outline:
    """Do what `outline` does in a short-lived child, so that the application is never imported in this process.

    Raises CommandError with the child's error.
    """
    import time

    import msgspec

    from swarm_cli import application_hooks, budgets
    from swarm_cli.errors import sentence
    from swarm_supervisor import ChildFailed, run_in_child

    def answer() -> bytes:
        try:
            began = time.monotonic()
            app, _ = load()
            if warning := budgets.importing(time.monotonic() - began, times.boot_timeout):
                logger.warning("%s", warning)
            application_hooks.warn_without_preload(app)
            return msgspec.json.encode(outline(load, times, drain_timeout, terms))
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            return msgspec.json.encode([*said])

    try:
        told = msgspec.json.decode(run_in_child(answer, timeout_s=import_timeout_s(times)))
    except ChildFailed as error:
        raise CommandError(f"the application cannot be loaded in a child process: {error}.") from error
    if isinstance(told, list):
        text, code = told
        raise CommandError(text, ExitCode(code))
    return Outline(**told)


def liveness(settings: Settings) -> LivenessListener:
    """The health checks of one process, with the limits from the settings."""
    from swarm_liveness import LivenessListener, LivenessSettingsError

    try:
        return LivenessListener(**settings.given_to("liveness"))
    except LivenessSettingsError as error:
        raise UsageError(f"{error}.") from error


def limit_memory(supervisor: Supervisor, listener: LivenessListener, nodes: int) -> None:
    """Set the memory limit of a node, now and whenever the number of nodes changes.

    Raises LivenessSettingsError (exit code 2). A changed limit applies to nodes forked after the change.
    """
    from swarm_supervisor.events import Scaled

    listener.before_fork(nodes)
    if listener.memory_share is not None:
        supervisor.on(Scaled)(lambda event: listener.before_fork(event.after))


def say_settings(settings: Settings, listener: LivenessListener, supervisor: Mapping[str, Any]) -> None:
    """Log the effective settings of the supervisor and of the health checks at level debug."""
    limits = dataclasses.asdict(listener.limits)
    liveness = [name for name, row in settings.rows().items() if "liveness" in row.owners]
    force = {**supervisor, **{name: limits[name] if name in limits else getattr(listener, name) for name in liveness}}
    force["drain_timeout"] = settings.drain_timeout
    logger.debug("effective settings: %s", " ".join(f"{name}={value}" for name, value in sorted(force.items())))


@contextmanager
def outward(supervisor: Supervisor, settings: Settings, application: str) -> Iterator[tuple[str, int] | None]:
    """Serve probes and metrics from the supervisor's own loop, and notify systemd, each if requested.

    Returns the host and port of the probes. Raises ProbeError (exit code 2) if the address cannot be served.
    """
    if settings.probe is None and "NOTIFY_SOCKET" not in os.environ:
        yield None
        return
    from swarm_liveness.serving import serve_supervisor

    server = serve_supervisor(
        supervisor,
        settings.probe,
        version=application_version(application),
        swarm_version=__version__,
        detail=cast("Detail", settings.metrics_detail),
    )
    try:
        yield None if server is None else (server.host, server.port)
    finally:
        if server is not None:
            server.close()


@contextmanager
def probes_of_process(
    listener: LivenessListener, runtime: Runtime, settings: Settings, application: str
) -> Iterator[Callable[[str], None]]:
    """Serve the same endpoints for one process, from a thread of its own; raises ProbeError (exit code 2).

    Returns the function that sets what the start is waiting for ("" for nothing).
    """
    if settings.probe is None:
        yield lambda reason: None
        return
    from swarm_liveness.serving import ProcessProbes

    probes = ProcessProbes(
        listener,
        runtime,
        settings.probe,
        version=application_version(application),
        swarm_version=__version__,
        detail=cast("Detail", settings.metrics_detail),
    )
    try:
        yield probes.waits_for
    finally:
        probes.close()


def application_version(application: str) -> str:
    """The version of a `module:attribute`: `__version__` of its package, else of the distribution of that name."""
    from importlib.metadata import PackageNotFoundError, version

    name = application.partition(":")[0].partition(".")[0]
    told = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(told, str):
        return told
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return ""


class NodeTarget:
    """What each node runs after the fork: a Kafka runtime, and the health checks that report on it."""

    def __init__(
        self,
        load: Load,
        settings: Settings,
        listener: LivenessListener,
        memory: ProgressMemory | None = None,
        static_ids: StaticIds | None = None,
    ) -> None:
        self.load = load
        self.settings = settings
        self.listener = listener
        self.memory = memory
        self.static_ids = static_ids
        _import_runtime()

    def __call__(self, node: Node) -> int:
        """Consume until told to stop. Returns the node's exit code."""
        from swarm_consumer import LifespanError, Runtime, WarmupError
        from swarm_consumer.wording.folded_traceback import folded

        logs.name_node(node.id)
        # For an application that wants to name the node in its output or logs.
        os.environ |= {"SWARM_NODE_ID": str(node.id), "SWARM_NODE_GENERATION": str(node.generation)}
        app, selection = self.load()
        given = self.settings.given("drain_timeout")
        memory = None if self.memory is None else self.memory.of_life(node.id, node.generation)
        runtime = Runtime(
            app,
            node_id=node.id,
            generation=node.generation,
            selection=selection,
            memory=memory,
            evict=eviction.evictor(app, selection, node.id),
            static_ids=self.static_ids,
            **given,
        )
        try:
            # Before the first beat: a lifespan that hangs at its start is judged by boot_timeout.
            runtime.prepare()
            self.listener.start(runtime, node)
            code = runtime.run(
                stopping=node.stopping,
                quieting=node.quieting,
                leaving=node.leaving_with,
                # Under an id of its own an application decides itself, and wants to come back under it: a pod of a
                # StatefulSet stops all nodes, and starts them again.
                removed=lambda: node.removed,
            )
            if why := _why(runtime, code):
                node.ending(why)
            return code
        except (WarmupError, LifespanError) as error:
            logger.error("%s\n%s", error, folded(error.__cause__ or error))  # without our own frames
            node.ending(str(error))
            return ExitCode.ERROR
        finally:
            self.listener.stop()


def _why(runtime: Runtime, code: int) -> str:
    """Why a node ended before its work was done; "" if it finished."""
    from swarm_consumer.process.exit_codes import EXIT_DRAIN_OVERRUN

    if code == EXIT_DRAIN_OVERRUN:
        return f"work was still in flight when its drain timeout of {runtime.drain_timeout:g} s ended"
    return (runtime.fatal_error() or "") if code else ""


def _import_runtime() -> None:
    """Import all of swarm_consumer before the first node exists; its names are otherwise imported on first use.

    A module that a node imports itself is not shared with other nodes, and it is read from disk at that moment:
    after an upgrade under a running supervisor, restarted nodes would be half old and half new.
    """
    import swarm_consumer

    folders: list[tuple[Sequence[str], str]] = [(swarm_consumer.__path__, "swarm_consumer.")]
    for path, prefix in folders:
        for module in pkgutil.iter_modules(path, prefix):
            if module.name in ("swarm_consumer.testing", "swarm_consumer.admin"):  # no node needs them
                continue
            imported = importlib.import_module(module.name)
            if module.ispkg:
                folders.append((imported.__path__, f"{module.name}."))
