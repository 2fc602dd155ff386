"""Every public name of every package is as it is written down, is there at run time, and is the one that pages name."""

import ast
import importlib
import inspect
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
WRITTEN = Path(__file__).parent / "public_names"
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "packages/*/README.md",
    "docs/examples/*.py",
    "examples/**/*.py",
]
ON_NO_PAGE = {"swarm_consumer.errors", "swarm_consumer.testing.pytest_plugin"}
"""Public all the same: most errors are exported by the package itself, and pytest finds the fixtures by entry point."""


def _tool() -> ModuleType:
    spec = spec_from_file_location("names", ROOT / ".ci" / "names.py")
    assert spec is not None
    assert spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


names: Any = _tool()


@pytest.mark.parametrize("package", names.MODULES)
def test_the_names_are_those_that_are_written_down(package: str) -> None:
    differs = names.difference((WRITTEN / f"{package}.txt").read_text(), names.rendered(package))
    if differs:
        pytest.fail(f"public names of {package} differ (if this is meant: hatch run names)\n{differs}", pytrace=False)


@pytest.mark.parametrize("package", names.MODULES)
def test_the_names_are_there_at_run_time(package: str) -> None:
    """What the sources say is what one gets: each name can be had, with the parameters that are written down."""
    lines = [line for line in (WRITTEN / f"{package}.txt").read_text().splitlines() if line.startswith("swarm_")]
    assert lines
    checked = 0
    for line in lines:
        path, _, what = line.partition(": ")
        if path.endswith("=)"):
            continue  # a keyword that a TypedDict lists
        value = _value(path)
        if what == "module":
            assert inspect.ismodule(value), line
        elif "class(" in what:
            assert inspect.isclass(value), line
        elif what.startswith(("(", "async (")):
            assert callable(value), line
            assert list(inspect.signature(value).parameters) == _parameters(what), line
            checked += 1
    assert checked or package == "swarm_cli"


def _value(path: str) -> Any:
    """What a dotted name stands for; None for a field, which only instances have."""
    path, *parts = path.split(".")
    value: Any = importlib.import_module(path)
    for part in parts:
        if inspect.isclass(value) and not hasattr(value, part):
            return None
        path = f"{path}.{part}"
        value = getattr(value, part) if hasattr(value, part) else importlib.import_module(path)
    return value


def _parameters(signature: str) -> list[str]:
    """The names of a function's parameters as they are written down."""
    (function,) = ast.parse(f"def f{signature.removeprefix('async ')}: ...").body
    assert isinstance(function, ast.FunctionDef)
    taken = function.args
    found = [*taken.posonlyargs, *taken.args, taken.vararg, *taken.kwonlyargs, taken.kwarg]
    return [each.arg for each in found if each is not None]


def test_the_modules_are_those_that_pages_name() -> None:
    """A page that names a module makes it public: it is in the list then, and nothing else is."""
    sources = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for source in ROOT.glob("packages/*/src")
        for path in source.rglob("*.py")
    }
    named: dict[str, str] = {}
    for page in (page for pattern in PAGES for page in sorted(ROOT.glob(pattern))):
        text = page.read_text()
        for found in re.finditer(r"\bswarm_[a-z]+(?:\.[A-Za-z_]+)+", text):
            parts = found[0].split(".")
            while len(parts) > 1 and ".".join(parts) not in sources:
                parts.pop()
            if len(parts) > 1:
                named[".".join(parts)] = str(page.relative_to(ROOT))
    listed = {f"{package}.{entry.partition(':')[0]}" for package, entries in names.MODULES.items() for entry in entries}
    assert {module: page for module, page in named.items() if module not in listed} == {}
    assert listed - named.keys() - ON_NO_PAGE == set()


def test_a_lost_name_and_a_changed_signature_are_named() -> None:
    before = "# head\n\np.A: class()\np.A.run: (self) -> int\np.b: () -> None\n"
    after = "# head\n\np.A: class()\np.A.run: (self, times: int) -> int\np.c: () -> None\n"
    assert names.difference(before, after).splitlines() == [
        "- p.A.run: (self) -> int", "+ p.A.run: (self, times: int) -> int", "- p.b: () -> None", "+ p.c: () -> None",
    ]  # fmt: skip
    assert names.difference(before, before) == ""
