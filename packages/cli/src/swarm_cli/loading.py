"""Load the application that APP names: ``module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_cli.errors import UsageError, debugging
from swarm_cli.suggestion import did_you_mean

if TYPE_CHECKING:
    from swarm_consumer import App


def load_app(reference: str) -> App:
    """The App at `reference` (``module:attribute``, the attribute may be dotted; ``app`` when left out).

    The working directory is searched first, as with ``python -m``. Raises UsageError (exit code 2) with the cause in
    one sentence when the module does not import, has no such attribute, or the attribute is not an App.
    """
    from swarm_consumer import App

    module_name, _, attribute = reference.partition(":")
    attribute = attribute or "app"
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise UsageError(f"APP must be written as module:attribute, not {reference!r}{_meant(module_name, attribute)}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(_no_attribute(module_name, attribute, module)) from None
    if not isinstance(found, App):
        kind = type(found).__name__
        raise UsageError(
            f"{module_name}:{attribute} is of type {kind}, not swarm_consumer.App: name an App of that module."
        )
    return found


def _meant(path: str, attribute: str) -> str:
    """The module that belongs to a file name, as a hint."""
    parts = path.removesuffix(".py").removeprefix("./").split("/")
    if not all(part.isidentifier() for part in parts):
        return ", like my_app:app."
    return f": did you mean {'.'.join(parts)}:{attribute}?"


def _import(name: str) -> object:
    from swarm_consumer import ConfigurationError, ForkError

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if debugging():
            raise
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name!r} on the Python path or in {Path.cwd()}: "
                "run the command in the folder that contains it, or install it."
            ) from error
        raise UsageError(f"cannot import {name!r}: it needs {error.name!r}, which is not installed.") from error
    except Exception as error:  # anything that the application's own code raises during import
        if debugging():
            raise
        if isinstance(error, (ConfigurationError, ForkError)):  # they name the line in the application
            raise UsageError(f"{error}.") from error
        raise UsageError(f"cannot import {name!r}: {_cause(error)} (--debug shows the traceback).") from error


def _cause(error: Exception) -> str:
    """The exception in one line, with the place in the application where it was raised."""
    text = " ".join(str(error).split()) or "no message"
    from swarm_consumer.wording.place import place_in

    place = place_in(error)
    if isinstance(error, SyntaxError) and error.filename:
        place = ""  # its message already names file and line
    return f"{type(error).__name__}: {text}{place}"


def _no_attribute(module_name: str, attribute: str, module: object) -> str:
    from swarm_consumer import App

    apps = sorted(name for name, value in vars(module).items() if isinstance(value, App))
    if apps:
        first = f"did you mean {module_name}:{apps[0]}?"
        meant = did_you_mean(attribute, apps, first, lambda near: f"{module_name}:{near}")
        return f"module {module_name!r} has no attribute {attribute!r}: {meant}"
    return f"module {module_name!r} has no attribute {attribute!r}, and no swarm_consumer.App under another name."
