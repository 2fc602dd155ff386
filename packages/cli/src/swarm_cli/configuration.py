"""Where each setting comes from. An option overrides the environment, which overrides the file, which overrides code.

The file is ``swarm.toml``, or ``[tool.swarm]`` in ``pyproject.toml``, in the working directory. Kafka properties are
merged key by key, in the same order. `resolve` decides, and reads nothing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from swarm_cli.errors import UsageError
from swarm_cli.setting_options import check, parser
from swarm_cli.settings import Settings
from swarm_cli.suggestion import did_you_mean

OWN_FILE, PROJECT_FILE = "swarm.toml", "pyproject.toml"
APPLICATION = "app"
DEFAULT = "default"
COMMAND_LINE, ENVIRONMENT = "the command line", "the environment"

Properties = Mapping[str, str]


@dataclass(frozen=True)
class FileSettings:
    """The contents of a settings file called `name`; the values are checked and have the types of `Settings`."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    kafka: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """The input of a command: APP, settings with their sources, and the layers of Kafka properties, weakest first."""

    app: str | None
    settings: Settings
    sources: Mapping[str, str] = field(default_factory=dict)
    kafka: tuple[tuple[str, Properties], ...] = ()

    @property
    def application(self) -> str:
        """APP. Raises UsageError if none was named."""
        if self.app is None:
            raise UsageError(
                f"no application is named: give APP as module:attribute, or set {APPLICATION} in {OWN_FILE} or in "
                f"[tool.swarm] of {PROJECT_FILE}, or SWARM_APP."
            )
        return self.app

    def source(self, name: str) -> str:
        """Where a setting was set: an option, a variable, a file; or "default"."""
        return self.sources.get(name, DEFAULT)


def option_name(setting: str) -> str:
    """``--node-restart-delay`` for node_restart_delay."""
    return f"--{setting.replace('_', '-')}"


def variable_name(setting: str) -> str:
    """``SWARM_NODE_RESTART_DELAY`` for node_restart_delay."""
    return f"SWARM_{setting.upper()}"


def resolve(
    parsed: Mapping[str, Any],
    on_command_line: Callable[[str], bool],
    environment: Mapping[str, str],
    file: FileSettings,
) -> Configuration:
    """Merge the layers. `parsed` holds options and environment, as checked by the parser.

    Raises UsageError for a Kafka property that is not KEY=VALUE.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    names = [APPLICATION, *(setting.name for setting in dataclasses.fields(Settings))]
    for name in names:
        if name in parsed and on_command_line(name):
            values[name], sources[name] = parsed[name], "APP" if name == APPLICATION else option_name(name)
        elif name in parsed and environment.get(variable_name(name)):
            values[name], sources[name] = parsed[name], variable_name(name)
        elif name in file.values:
            values[name], sources[name] = file.values[name], file.name
    options = {name: values[name] for name in values if sources[name] == option_name(name)}
    return Configuration(
        app=values.pop(APPLICATION, None),
        settings=Settings(**values),
        sources=sources,
        kafka=(
            (file.name, _with_short_forms(file.kafka, file.values)),
            (ENVIRONMENT, _environment_properties(environment)),
            (COMMAND_LINE, _with_short_forms(_pairs("--kafka", options.get("kafka") or []), options)),
        ),
    )


def _environment_properties(environment: Mapping[str, str]) -> Properties:
    name = variable_name("kafka")
    import shlex

    try:
        words = shlex.split(environment.get(name, ""))
    except ValueError as error:  # the text may be a password, so only the cause is shown
        raise UsageError(
            f"{name} is quoted wrongly ({str(error).lower()}): separate KEY=VALUE pairs by spaces."
        ) from error
    short = {key: environment.get(variable_name(key)) for key in ("bootstrap_servers", "group_instance_id")}
    return _with_short_forms(_pairs(name, words), short)


def _with_short_forms(properties: Properties, values: Mapping[str, Any]) -> Properties:
    short = {"bootstrap.servers": values.get("bootstrap_servers"), "group.instance.id": values.get("group_instance_id")}
    return {**properties, **{key: value for key, value in short.items() if value}}


def _pairs(where: str, texts: list[str]) -> Properties:
    properties: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"{where} takes KEY=VALUE, but {_without_value(key, number)} has no '=' or no key.")
        properties[key.strip()] = value
    return properties


def _without_value(key: str, number: int) -> str:
    # Text that is not a property name may be part of a password that was split at a space, so it is not shown.
    words = key.strip().split(".")
    is_name = len(words) > 1 and all(word.isascii() and word.isalnum() and word.islower() for word in words)
    return repr(key.strip()) if is_name else f"number {number} of them"


def read_file(folder: Path) -> FileSettings:
    """The settings of the folder's file; none if there is no file.

    Raises UsageError for invalid TOML, for an unknown key (with the nearest one) and for a value of the wrong kind.
    """
    own = folder / OWN_FILE
    if own.is_file():
        return checked(OWN_FILE, _toml(own))
    project = folder / PROJECT_FILE
    if project.is_file():
        tool = _toml(project).get("tool", {})
        table = tool.get("swarm", {}) if isinstance(tool, dict) else {}
        return checked(f"{PROJECT_FILE} [tool.swarm]", table)
    return FileSettings(DEFAULT)


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, not TOML, or a number with more digits than int() accepts
        raise UsageError(f"{path.name} is not valid TOML: {error}.") from error
    except RecursionError:
        raise UsageError(f"{path.name} is nested too deeply.") from None
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}.") from error


def checked(name: str, table: object) -> FileSettings:
    """The file's table, after checking every key and the kind of every value. Raises UsageError."""
    if not isinstance(table, dict):
        raise UsageError(f"{name} is not a table of settings.")
    hints = typing.get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    kafka: Properties = {}
    for key, value in table.items():
        setting = key.replace("-", "_")
        if setting in values:
            raise UsageError(f"{name}: {_named(key)} is set twice, once with '-' and once with '_'.")
        if setting == "kafka":
            kafka = _properties(name, value)
        elif setting == APPLICATION:
            if not isinstance(value, str) or not value:
                raise UsageError(f'{name}: {_named(key)} must be "module:attribute".')
            values[setting] = value
        elif setting in hints:
            values[setting] = _value(f"{name}: {_named(key)}", value, hints[setting])
        else:
            raise UsageError(f"{name}: there is no setting {key!r}{_nearest(setting, [APPLICATION, *hints])}")
    return FileSettings(name, values, kafka)


def _named(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _shown(value: object) -> str:
    # For a list or a table only the kind is shown: its contents may be anything, even a number of any size.
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _nearest(name: str, known: list[str]) -> str:
    otherwise = "docs/configuration.md lists all settings."
    return f"; {did_you_mean(name, known, otherwise, lambda near: near.replace('_', '-'))}"


def _properties(name: str, value: object) -> Properties:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return _pairs(f"{name}: kafka", value)
    if not isinstance(value, dict):
        raise UsageError(f'{name}: kafka must be a table, as in kafka."session.timeout.ms" = 6000.')
    try:
        return dict(_flat(name, "", value))
    except RecursionError:
        raise UsageError(f"{name}: kafka is nested too deeply.") from None


def _flat(name: str, prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    # In TOML session.timeout.ms = 6000, without quotes, is a table in a table in a table.
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(name, f"{prefix}{key}.", value)
        elif isinstance(value, bool):
            yield f"{prefix}{key}", str(value).lower()
        elif isinstance(value, str | float) or (isinstance(value, int) and abs(value) < _HUGE):
            yield f"{prefix}{key}", str(value)
        else:
            what = f"the Kafka property {_named(prefix + key)}"
            raise UsageError(f"{name}: {what} must be a string, a number, true or false.")


_HUGE = 2**64
"""No setting needs a larger number. Python cannot convert very large integers to text or to float."""
_KINDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _value(where: str, value: object, hint: Any) -> Any:
    annotated, row = typing.get_args(hint)[:2]
    parse, refuse = parser(row), check(row)
    union = isinstance(annotated, types.UnionType)
    kind = next(kind for kind in (typing.get_args(annotated) if union else (annotated,)) if kind in _KINDS)
    if kind is str and isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = ",".join(value)
    if isinstance(value, int) and abs(value) >= _HUGE:
        raise UsageError(f"{where} must be {_KINDS[kind]}, and this number is too large.")
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str) and parse is not None:  # "30s", "150MB"
        try:
            value = parse(value)
        except typer.BadParameter as error:
            raise UsageError(f"{where}: {error.message}") from error
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where} must be {_KINDS[kind]}, not {_shown(value)}.")
    if refuse is None:
        return value
    try:
        return refuse(value)
    except typer.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error
