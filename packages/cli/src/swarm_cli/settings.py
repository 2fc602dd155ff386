"""The settings of `swarm` and `server`: one table, from which both commands take their options.

A setting left at None is decided elsewhere: by the application's own code, or by the default of the package that it
belongs to. Each option also reads SWARM_<OPTION>.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import typer

from swarm_cli.errors import UsageError, settled

RUN, KAFKA, FILTERS, TIMES, HEALTH, LOG = "Running", "Kafka", "Filters", "Times", "Health", "Logging and control"


def _option(text: str, panel: str, metavar: str | None = None, check: Callable[..., Any] | None = None) -> Any:
    # The environment variable of each is SWARM_<OPTION>: said once, in the command's own help, not 25 times.
    return typer.Option(help=text, rich_help_panel=panel, metavar=metavar, callback=check, show_envvar=False)


def _flag(name: str, text: str, panel: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, show_envvar=False)


def _amount(value: float | None) -> float | None:
    if value is not None and not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{value} is not an amount: give 0 or more.")
    return value


def _limit(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} MB is no limit: give more than 0, or leave it out.")
    return value


def _nodes(value: str | None) -> str | None:
    if value is not None and value != "auto" and not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise typer.BadParameter(f"{value!r} is neither a number of nodes (1 or more) nor 'auto'.")
    return value


def _threads(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise typer.BadParameter(f"{value} is not a number of threads: give 1 or more.")
    return value


def _one_of(*allowed: str) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in allowed:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(allowed)}.")
        return value if value is None else value.lower()

    return check


def _choice(text: str, panel: str, *allowed: str) -> Any:
    return _option(text, panel, "|".join(allowed), _one_of(*allowed))


def _seconds(text: str, panel: str) -> Any:
    return _option(text, panel, "SECONDS", _amount)


def _names(text: str) -> Any:
    return _option(text, FILTERS, "A,B*")


_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line, the environment and the defaults say together."""

    nodes: Annotated[
        str | None, _option("Nodes to fork; auto: the CPUs that this process may use.", RUN, "N|auto", _nodes)
    ] = None
    concurrency: Annotated[int | None, _option("Worker threads in each node.", RUN, "N", _threads)] = None
    on_crash_loop: Annotated[
        str | None, _choice("A node keeps dying: go on trying, degraded, or exit with 5.", RUN, "degrade", "exit")
    ] = None

    bootstrap_servers: Annotated[
        str | None, _option("Brokers, instead of what the application says.", KAFKA, "HOST:PORT,...")
    ] = None
    kafka: Annotated[list[str] | None, _option("A librdkafka property; repeatable.", KAFKA, "KEY=VALUE")] = None
    group_instance_id: Annotated[
        str | None, _option("Static membership: the prefix of the ids (the host's or pod's name).", KAFKA, "PREFIX")
    ] = None
    connect_timeout: Annotated[
        float | None, _seconds("Give up (exit 1) when no broker answers for so long; else keep trying.", KAFKA)
    ] = None
    allow_missing_topics: Annotated[
        bool, _flag("--allow-missing-topics", "Start although a topic does not exist, and wait for it.", KAFKA)
    ] = False

    include_topics: Annotated[str | None, _names("Only these topics.")] = None
    exclude_topics: Annotated[str | None, _names("All but these topics.")] = None
    include_consumer_groups: Annotated[str | None, _names("Only these consumer groups.")] = None
    exclude_consumer_groups: Annotated[str | None, _names("All but these consumer groups.")] = None
    include_subscription_groups: Annotated[str | None, _names("Only these subscription groups.")] = None
    exclude_subscription_groups: Annotated[str | None, _names("All but these subscription groups.")] = None

    drain_timeout: Annotated[float | None, _seconds("A node's time to finish its work (45).", TIMES)] = None
    shutdown_timeout: Annotated[float | None, _seconds("From TERM to KILL (60).", TIMES)] = None
    node_restart_delay: Annotated[
        float | None, _seconds("Wait at least so long after an unplanned death (5).", TIMES)
    ] = None
    boot_timeout: Annotated[float | None, _seconds("From fork to the first healthy report (60).", TIMES)] = None

    node_report_timeout: Annotated[float | None, _seconds("A node silent for so long is stopped (60).", HEALTH)] = None
    liveness_interval: Annotated[float | None, _seconds("How often a node reports (10).", HEALTH)] = None
    polling_ttl: Annotated[
        float | None, _seconds("A group not polled for so long is unhealthy (max.poll.interval.ms).", HEALTH)
    ] = None
    consuming_ttl: Annotated[
        float | None, _seconds("A batch that runs for so long is unhealthy (max.poll.interval.ms).", HEALTH)
    ] = None
    memory_limit: Annotated[float | None, _option("A node above this is replaced (off).", HEALTH, "MB", _limit)] = None
    memory_metric: Annotated[
        str | None, _choice("What the limit is compared with (uss).", HEALTH, "uss", "pss", "rss")
    ] = None

    log_level: Annotated[str, _option("Least severity shown.", LOG, "LEVEL", _one_of(*_LEVELS))] = "info"
    log_format: Annotated[str, _choice("The form of a log line.", LOG, "text", "json")] = "text"
    control: Annotated[
        str | None,
        _option("The control socket's path, or off (default: by pid, in a private folder).", LOG, "PATH|off"),
    ] = None

    def kafka_properties(self) -> dict[str, str]:
        """The librdkafka properties given here. Raises UsageError for one that is not KEY=VALUE."""
        properties: dict[str, str] = {}
        for text in self.kafka or []:
            key, separator, value = text.partition("=")
            if not separator or not key.strip():
                # Only the key is repeated: the rest may be a password.
                raise UsageError(f"--kafka takes KEY=VALUE, but {key.strip()!r} has no '=' or no key.")
            properties[key.strip()] = value
        if self.bootstrap_servers:
            properties["bootstrap.servers"] = self.bootstrap_servers
        if self.group_instance_id:
            properties["group.instance.id"] = self.group_instance_id
        return properties

    def given(self, *names: str) -> dict[str, Any]:
        """Those of `names` that were set: keyword arguments that leave every other default where it is."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def registered(command: Callable[[str, Settings], int]) -> Callable[..., None]:
    """A Typer command made of ``command(APP, settings)`` and the table above."""

    def run(**values: Any) -> None:
        settled(command)(values.pop("app"), Settings(**values))

    application = Annotated[
        str, typer.Argument(metavar="APP", help="The application: module:attribute.", envvar="SWARM_APP")
    ]
    parameters = [inspect.Parameter("app", inspect.Parameter.KEYWORD_ONLY, annotation=application)]
    for name, hint in _hints().items():
        default = next(field.default for field in dataclasses.fields(Settings) if field.name == name)
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    return run


def _hints() -> Mapping[str, Any]:
    hints = get_type_hints(Settings, include_extras=True)
    for name, hint in hints.items():
        hint.__metadata__[0].envvar = f"SWARM_{name.upper()}"
    return hints
