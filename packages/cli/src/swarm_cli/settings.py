"""The settings of `swarm` and `server`: one table, from which every command takes the options that concern it.

A setting left at None is decided elsewhere: by the application's own code, or by the default of the package that it
belongs to. Each may also come from SWARM_<OPTION> or from a file: `configuration` says which one wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from swarm_cli import units

RUN, KAFKA, FILTERS, TIMES, HEALTH, LOG = "Running", "Kafka", "Filters", "Times", "Health", "Logging and control"


def _option(
    text: str,
    panel: str,
    metavar: str | None = None,
    check: Callable[..., Any] | None = None,
    rare: bool = False,
    words: Sequence[str] = (),
    parse: Callable[[str], Any] | None = None,
) -> Any:
    # The environment variable of each is SWARM_<OPTION>: said once, in the command's own help, not 40 times. What is
    # rare is hidden, and shown by --help-all.
    # `words`: what a shell completes.
    complete = (lambda incomplete: [word for word in words if word.startswith(incomplete)]) if words else None
    return typer.Option(
        help=text, rich_help_panel=panel, metavar=metavar, callback=check, show_envvar=False, hidden=rare,
        autocompletion=complete, parser=parse,
    )  # fmt: skip


def _flag(text: str, panel: str, rare: bool = False) -> Any:
    # Both forms, --x and --no-x: what a file switches on can be switched off by an option.
    return typer.Option(help=text, rich_help_panel=panel, show_envvar=False, show_default=False, hidden=rare)


def _amount(value: float | None) -> float | None:
    if value is not None and not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{value} is not an amount: give 0 or more.")
    return value


def _share(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"{value} is no share: give more than 0 and at most 1, like 0.8.")
    return value


def _limit(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} MB is no limit: give more than 0, or leave it out.")
    return value


def _nodes(value: str | None) -> str | None:
    if value is not None and value != "auto" and not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise typer.BadParameter(f"{value!r} is neither a number of nodes (1 or more) nor 'auto'.")
    return value


def _count(of: str) -> Callable[[int | None], int | None]:
    def check(value: int | None) -> int | None:
        if value is not None and value < 1:
            raise typer.BadParameter(f"{value} is not a number of {of}: give 1 or more.")
        return value

    return check


def _one_of(*allowed: str) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in allowed:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}.")
        return value if value is None else value.lower()

    return check


def _choice(text: str, panel: str, *allowed: str, rare: bool = False) -> Any:
    return _option(text, panel, "|".join(allowed), _one_of(*allowed), rare, allowed)


def _seconds(text: str, panel: str, rare: bool = False) -> Any:
    return _option(text, panel, "SECONDS", _amount, rare, parse=units.seconds)


def _names(text: str, rare: bool = False) -> Any:
    return _option(text, FILTERS, "A,B*", None, rare)


_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What options, environment, file and defaults say together."""

    nodes: Annotated[
        str | None, _option("Nodes to fork; auto: one for each CPU it may use.", RUN, "N|auto", _nodes, words=("auto",))
    ] = None
    concurrency: Annotated[int | None, _option("Worker threads in each node.", RUN, "N", _count("threads"))] = None
    preload: Annotated[bool, _flag("Import APP once, not in each node.", RUN)] = True
    reload: Annotated[bool, _flag("Start anew when a source file changes.", RUN)] = False
    restart: Annotated[
        str | None,
        _choice("Whether a node that ends by itself is replaced.", RUN, "always", "on-failure", "never", rare=True),
    ] = None
    on_crash_loop: Annotated[
        str | None,
        _choice("A node keeps dying: go on trying, degraded, or exit with 5.", RUN, "degrade", "exit", rare=True),
    ] = None
    max_unavailable: Annotated[
        int | None, _option("Nodes that a restart may take down at once (1).", RUN, "N", _count("nodes"), rare=True)
    ] = None
    max_restarts: Annotated[
        int | None,
        _option("Unplanned exits of a node that are a crash loop (5).", RUN, "N", _count("exits"), rare=True),
    ] = None

    threads: Annotated[
        str | None,
        _choice("What to do about other threads at a fork.", RUN, "warn", "refuse", "ignore", rare=True),
    ] = None
    subreaper: Annotated[bool, _flag("Adopt and reap what nodes leave behind.", RUN, rare=True)] = False

    bootstrap_servers: Annotated[
        str | None, _option("Brokers, instead of the application's.", KAFKA, "HOST:PORT,...")
    ] = None
    kafka: Annotated[list[str] | None, _option("A librdkafka property; repeatable.", KAFKA, "KEY=VALUE")] = None
    group_instance_id: Annotated[str | None, _option("Static members: prefix of their ids.", KAFKA, "PREFIX")] = None
    connect_timeout: Annotated[float | None, _seconds("Give up (exit 1) if no broker answers.", KAFKA)] = None
    allow_missing_topics: Annotated[
        bool, _flag("Start although a topic does not exist, and wait for it.", KAFKA, rare=True)
    ] = False

    include_topics: Annotated[str | None, _names("Only these topics.")] = None
    exclude_topics: Annotated[str | None, _names("All but these topics.")] = None
    include_consumer_groups: Annotated[str | None, _names("Only these consumer groups.")] = None
    exclude_consumer_groups: Annotated[str | None, _names("All but these consumer groups.")] = None
    include_subscription_groups: Annotated[str | None, _names("Only these subscription groups.", rare=True)] = None
    exclude_subscription_groups: Annotated[str | None, _names("All but these subscription groups.", rare=True)] = None

    drain_timeout: Annotated[float | None, _seconds("A node's time to finish its work (45).", TIMES)] = None
    shutdown_timeout: Annotated[float | None, _seconds("From TERM to KILL (60).", TIMES)] = None
    shutdown_grace: Annotated[
        float | None, _seconds("What the supervisor waits on top of that (15).", TIMES, rare=True)
    ] = None
    node_restart_delay: Annotated[float | None, _seconds("From an unplanned death to the next start (5).", TIMES)] = (
        None
    )
    restart_delay_max: Annotated[
        float | None, _seconds("What the delay doubles up to, if a node keeps dying (60).", TIMES, rare=True)
    ] = None
    restart_window: Annotated[
        float | None, _seconds("The window in which max_restarts are counted (600).", TIMES, rare=True)
    ] = None
    stable_after: Annotated[
        float | None, _seconds("Uptime after which a node counts as stable (60).", TIMES, rare=True)
    ] = None
    stack_dump_timeout: Annotated[
        float | None, _seconds("For a hung node to dump its stacks (2; 0: no dumps).", TIMES, rare=True)
    ] = None
    boot_timeout: Annotated[float | None, _seconds("From fork to the first healthy report (60).", TIMES, rare=True)] = (
        None
    )

    node_report_timeout: Annotated[float | None, _seconds("Silence after which a node is stopped (60).", HEALTH)] = None
    liveness_interval: Annotated[float | None, _seconds("How often a node reports (10).", HEALTH, rare=True)] = None
    statistics_interval: Annotated[
        float | None, _seconds("How often a node's statistics travel (1).", HEALTH, rare=True)
    ] = None
    polling_ttl: Annotated[float | None, _seconds("Between two polls (max.poll.interval.ms).", HEALTH, rare=True)] = (
        None
    )
    consuming_ttl: Annotated[float | None, _seconds("A batch's time (max.poll.interval.ms).", HEALTH)] = None
    stability_ttl: Annotated[float | None, _seconds("For a group to settle (twice that).", HEALTH, rare=True)] = None
    memory_limit: Annotated[
        float | None, _option("A node above this is replaced (off).", HEALTH, "MB", _limit, False, (), units.megabytes)
    ] = None
    memory_share: Annotated[
        float | None,
        _option(
            "Instead: the nodes' share of the container, like 0.8.",
            HEALTH,
            "SHARE",
            _share,
            rare=True,
            parse=units.number,
        ),
    ] = None
    memory_metric: Annotated[
        str | None, _choice("What the limit is compared with (uss).", HEALTH, "uss", "pss", "rss", rare=True)
    ] = None

    log_level: Annotated[str, _option("Least severity shown.", LOG, "LEVEL", _one_of(*_LEVELS), words=_LEVELS)] = "info"
    log_format: Annotated[str, _choice("The form of a log line.", LOG, "text", "json", "app")] = "text"
    probe: Annotated[str | None, _option("Serve probes, metrics and a page at / (off).", LOG, "[HOST:]PORT")] = None
    metrics_detail: Annotated[
        str, _choice("How far /metrics tells partitions apart.", LOG, "partition", "topic", "node", rare=True)
    ] = "partition"
    control: Annotated[str | None, _option("The control socket (by pid, in a private folder).", LOG, "PATH|off")] = None

    def given(self, *names: str) -> dict[str, Any]:
        """Those of `names` that were set: keyword arguments that leave every other default where it is."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}
