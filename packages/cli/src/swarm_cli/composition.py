"""How the packages are joined: what a node runs, and what one process runs. Nothing is decided here."""

import logging
import os
from typing import TYPE_CHECKING

from swarm_cli import logs
from swarm_cli.errors import UsageError
from swarm_cli.settings import Settings

if TYPE_CHECKING:
    from swarm_consumer import App, Selection
    from swarm_liveness import LivenessListener
    from swarm_supervisor import Node

logger = logging.getLogger("swarm_cli")


def configured_app(reference: str, settings: Settings) -> "tuple[App, Selection]":
    """The application with the properties of the command line, and what of it is to run.

    Raises UsageError or ConfigurationError, both exit code 2, before anything is started.
    """
    from swarm_cli.loading import load_app

    app = load_app(reference)
    if properties := settings.kafka_properties():
        app.override(properties, "the command line")
    if settings.concurrency is not None:
        app.concurrency = settings.concurrency
    selection = selected(settings)
    selection.check(app)
    return app, selection


def selected(settings: Settings) -> "Selection":
    """The filters as a Selection."""
    from swarm_consumer import Selection

    kinds = ("topics", "consumer_groups", "subscription_groups")
    names = [f"{verb}_{kind}" for kind in kinds for verb in ("include", "exclude")]
    return Selection(**{name: _listed(name, getattr(settings, name)) for name in names})


def _listed(name: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    listed = tuple(part.strip() for part in text.split(",") if part.strip())
    if not listed:
        raise UsageError(f"--{name.replace('_', '-')} names nothing: give names or globs, parted by commas.")
    return listed


def liveness(settings: Settings) -> "LivenessListener":
    """The checks of one process, with the limits of the command line; raises LivenessSettingsError (exit code 2)."""
    from swarm_liveness import LivenessListener

    names = ("memory_limit", "memory_metric", "polling_ttl", "consuming_ttl", "liveness_interval")
    return LivenessListener(**settings.given(*names))


class NodeTarget:
    """What each node runs, after the fork: a Kafka runtime, and the checks that report on it."""

    def __init__(self, app: "App", selection: "Selection", settings: Settings, listener: "LivenessListener") -> None:
        self.app = app
        self.selection = selection
        self.settings = settings
        self.listener = listener

    def __call__(self, node: "Node") -> int:
        """Consume until told to stop; the exit code of the node."""
        from swarm_consumer import Runtime

        logs.name_node(node.id)
        # For an application that wants to say in its output or its logs where it ran.
        os.environ |= {"SWARM_NODE_ID": str(node.id), "SWARM_NODE_GENERATION": str(node.generation)}
        runtime = Runtime(self.app, node_id=node.id, selection=self.selection, **self.settings.given("drain_timeout"))
        self.listener.start(runtime, node)
        try:
            return runtime.run(stopping=node.stopping, quieting=node.quieting, leaving=lambda: node.leaving)
        finally:
            self.listener.stop()
