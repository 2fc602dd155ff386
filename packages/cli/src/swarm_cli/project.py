"""A new project from the templates of this package."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from swarm_cli import __version__
from swarm_cli.errors import CommandError, UsageError

# Template → where it goes; PROJECT is the import name.
TEMPLATES: Mapping[str, str] = {
    "app.py": "PROJECT/app.py",
    "send.py": "PROJECT/send.py",
    "test_app.py": "tests/test_app.py",
    "pyproject.toml": "pyproject.toml",
    "Dockerfile": "Dockerfile",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "dockerignore": ".dockerignore",
}
TAKEN = ("test", "tests", "app", "swarm", "swarm_cli", "swarm_consumer", "swarm_supervisor", "swarm_liveness")
"""Import names that would hide another module or be hidden by one."""


@dataclass(frozen=True)
class Project:
    """A project's names and its files, by path in its folder."""

    name: str
    package: str
    files: Mapping[str, str]


def project(name: str) -> Project:
    """The project of a name like ``order-totals``. Raises UsageError for a name that cannot be a package name."""
    package = re.sub(r"[-.\s]+", "_", name.strip()).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", package) or keyword.iskeyword(package):
        raise UsageError(
            f"{name!r} cannot be a project name: use letters, digits and dashes, starting with a letter, "
            "like order-totals."
        )
    if package in TAKEN or package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        raise UsageError(
            f"{name!r} cannot be a project name: a module {package!r} already exists, and one would hide the "
            "other. Use another name, like order-totals."
        )
    names = {"PROJECT": package, "DISTRIBUTION": package.replace("_", "-"), "VERSION": __version__}
    folder = resources.files("swarm_cli") / "templates" / "project"
    files = {f"{package}/__init__.py": f'"""The application {package}."""\n'}
    for template, place in TEMPLATES.items():
        files[_filled(place, names)] = _filled((folder / f"{template}.template").read_text(encoding="utf-8"), names)
    return Project(name, package, files)


def write_project(folder: Path, name: str | None, *, into_existing: bool = False) -> Project:
    """Write a project into a folder, which is created if needed.

    Raises UsageError and writes nothing if a file already exists, if the folder has other files and
    `into_existing` is False, or if a module there has the package's name; CommandError if a file cannot be written.
    """
    made = project(folder.resolve().name if name is None else name)
    module = folder / f"{made.package}.py"
    if module.exists():
        raise UsageError(f"{module} would be hidden by the package {made.package}: give the project another --name.")
    others = sorted(path.name for path in folder.iterdir() if not _comes_first(path)) if folder.is_dir() else []
    if others and not into_existing:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UsageError(f"{folder} already has files ({shown}): choose a new folder, or add --force to add to it.")
    there = sorted(path for path in made.files if (folder / path).exists())
    if there:
        raise UsageError(f"{folder / there[0]} already exists and is not overwritten: choose another folder.")
    for path, text in made.files.items():
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise CommandError(f"{folder / path} cannot be written: {error.strerror}.") from error
    return made


def _comes_first(path: Path) -> bool:
    """Whether a project folder often has this file before any code."""
    return path.name.startswith(".") or path.name.upper().startswith(("README", "LICENSE", "LICENCE"))


def _filled(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text
