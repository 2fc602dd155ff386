"""`swarm-cli swarm APP`: one supervisor, N nodes."""

import dataclasses
from contextlib import ExitStack
from typing import TYPE_CHECKING

from swarm_cli.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from swarm_cli.reloading import SourceWatch


def swarm(configuration: Configuration) -> int:
    """Run APP on N nodes under one supervisor.

    APP is loaded once; the nodes are forked from it and share its memory. INT and TERM stop gracefully, a second one at
    once; TSTP quiets; USR2 restarts the nodes one by one; TTIN dumps every thread's stack. Each option may also come
    from SWARM_<OPTION>, swarm.toml or pyproject.toml.

    Example: swarm-cli swarm my_app:app --nodes 4
    """
    from swarm_cli import logs, reloading

    settings = configuration.settings
    logs.configure("supervisor", settings.log_level, settings.log_format)
    return reloading.perform(lambda watch: run(configuration, watch), settings.reload)


def run(configuration: Configuration, watch: "SourceWatch | None") -> int:
    """Supervise until stopped or until the watch sees a change. Returns the exit code."""
    from swarm_cli import application_hooks

    with application_hooks.clients_refused():
        return _supervise(configuration, watch)


def _supervise(configuration: Configuration, watch: "SourceWatch | None") -> int:
    from swarm_cli import preflight

    late = (lambda: None) if watch is None else watch.end
    # Until run() has its own handlers: as PID 1 a process without any does not even notice a TERM.
    with ExitStack() as closing, preflight.ends_when_interrupted("the start was prepared", late) as hand_over:
        return _prepared(configuration, watch, closing, hand_over)()


def _prepared(
    configuration: Configuration, watch: "SourceWatch | None", closing: ExitStack, handled: "Callable[[], None]"
) -> "Callable[[], int]":
    """Do everything up to the first fork. Returns the function that supervises and returns the exit code.

    `handled` is called once the supervisor answers signals.
    """
    from swarm_cli import application_hooks, composition, eviction, membership, preflight
    from swarm_cli.banner import Banner, Facts
    from swarm_cli.control_path import control_path
    from swarm_cli.epitaphs import Epitaphs
    from swarm_cli.progress_memory import progress_memory
    from swarm_cli.start_gate import StartGate
    from swarm_supervisor import Supervisor, events
    from swarm_supervisor.cpus import available_cpus
    from swarm_supervisor.settings import Settings as SupervisorSettings

    settings = configuration.settings
    given = settings.given_to("supervisor")
    times = SupervisorSettings.of(given)
    terms = eviction.Terms.of(settings)
    nodes = available_cpus() if settings.nodes in (None, "auto") else int(settings.nodes or 1)
    load: composition.Load
    if settings.preload:
        with preflight.ends_when_interrupted("the application was imported"):
            loaded = composition.configured_app(configuration)
        application_hooks.check_no_client()
        load = lambda: loaded  # noqa: E731
        slack_s = 10.0
        outline = composition.outline(load, times, settings.drain_timeout, terms)
        # This comes before memory is measured for the nodes' limits, because the nodes share what is loaded here.
        ended = application_hooks.warm_up(loaded[0])
        if ended is not None:
            code = ended
            return lambda: code
    else:
        load = lambda: composition.configured_app(configuration)  # noqa: E731
        slack_s = composition.import_timeout_s(times)
        with preflight.ends_when_interrupted("the application was imported"):
            outline = composition.outline_in_child(load, times, settings.drain_timeout, terms)
    if outline.evicts_at_stop:
        eviction.preload()
    listener = composition.liveness(settings)
    control = control_path(settings.control)
    memory = progress_memory(settings.progress_memory, nodes)
    if memory is not None:
        closing.callback(memory.close)
    # Its lock is inherited by the nodes, and held until this process and the last of them have gone.
    static_ids = closing.enter_context(membership.supervised(settings, outline.client_id, outline.members))
    supervisor = Supervisor(
        composition.NodeTarget(load, settings, listener, memory, static_ids),
        nodes=nodes,
        name=outline.client_id,
        control_socket=control,
        **given,
    )
    supervisor.on(events.BeforeWarmup)(lambda event: handled())
    if settings.preload:
        application_hooks.connect(load()[0], supervisor)
    if memory is not None:
        Epitaphs(memory, supervisor.excuse).attach(supervisor)
    composition.limit_memory(supervisor, listener, nodes)
    probe = closing.enter_context(composition.outward(supervisor, settings, configuration.application))
    within_s = supervisor.settings.shutdown_timeout + supervisor.settings.shutdown_grace
    servers = ", ".join(outline.servers)
    facts = Facts(configuration.application, nodes, servers, probe, control, within_s)
    gate = StartGate(supervisor, load, outline, nodes, settings, slack_s)
    composition.say_settings(settings, listener, dataclasses.asdict(supervisor.settings))
    Banner(facts, supervisor.snapshot).attach(supervisor)
    if watch is not None:
        watch.stop_at_change(supervisor)
    return lambda: gate.exit_code(supervisor.run())
