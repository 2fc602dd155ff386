"""One form for one thing in the sources of the packages: docstrings, fields, exceptions to a rule."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = {path.relative_to(ROOT): path.read_text() for path in ROOT.glob("packages/*/src/**/*.py")}
REASON = re.compile(r"# noqa: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*(?:  \S.*)?$")
"""Two spaces, then the reason."""


def of_exceptions(source: str) -> list[str]:
    return [line for line in source.splitlines() if "# noqa" in line and not REASON.search(line)]


def of_docstrings(source: str) -> list[str]:
    """Sections are not used: parameters and errors are part of a sentence, as in `Raises ValueError if ...`."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    section = r"^ *(?:Args|Parameters|Returns|Raises|Attributes|Yields):$|^ *:(?:param|raises?|returns?)\b"
    return [text for text in texts if re.search(section, text, re.M)]


def of_fields(source: str) -> list[str]:
    """A field is explained by the string below it, not by a list in the docstring of its class."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            lines = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            names = {target.id for target in lines if isinstance(target, ast.Name)}
            lists = re.findall(r"^ *([\w, ]+): ", ast.get_docstring(node) or "", re.M)
            found += sorted(names & {name for names_ in lists for name in names_.split(", ")})
    return found


RULES: dict[str, tuple[Callable[[str], list[str]], str]] = {
    "exceptions": (of_exceptions, "x = 1  # noqa: E501 - why\n"),
    "docstrings": (of_docstrings, 'def f(x):\n    """Do it.\n\n    Args:\n        x: what.\n    """\n'),
    "fields": (of_fields, 'class A:\n    """A thing.\n\n    size, age: in years.\n    """\n    size: int = 0\n'),
}
"""What finds another form, and a source that has it."""


@pytest.mark.parametrize("rule", RULES)
def test_sources_have_one_form(rule: str) -> None:
    find, _ = RULES[rule]
    assert {str(path): other for path, source in SOURCES.items() if (other := find(source))} == {}


@pytest.mark.parametrize("rule", RULES)
def test_another_form_is_found(rule: str) -> None:
    find, planted = RULES[rule]
    assert find(planted)


def named_modules(tree: ast.AST) -> set[str]:
    """Every dotted name that a file imports, of modules and of names in them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def of_modules(sources: dict[Path, str], documented: set[str]) -> list[str]:
    """A room without an underscore is for others: its package exports from it, another one uses it, or a page names it.

    A room is a module, or a wing with its modules. The command line is a program: none of its modules is for others.
    """
    used = {(name, "") for name in documented}
    rooms = set()
    for path, source in sources.items():
        package, *inside = path.with_suffix("").parts[3:]
        if package != "swarm_cli" and inside[0] != "__init__" and not inside[0].startswith("_"):
            rooms.add((f"{package}.{inside[0]}", package))
        by = "" if inside == ["__init__"] else package
        used |= {(name, by) for name in named_modules(ast.parse(source))}
    foreign = {(name, package) for name, by in used for _, package in rooms if by != package}
    return sorted(
        room for room, package in rooms
        if not any(name == room or name.startswith(f"{room}.") for name, of in foreign if of == package)
    )  # fmt: skip


def test_a_private_module_begins_with_an_underscore() -> None:
    others = {
        path.relative_to(ROOT): path.read_text()
        for folder in ("examples", "benchmarks", "docs") for path in ROOT.glob(f"{folder}/**/*.py")
    }  # fmt: skip
    outside = set().union(*(named_modules(ast.parse(source)) for source in others.values()))
    pages = " ".join(path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"),
                                                   *ROOT.glob("packages/*/README.md")])  # fmt: skip
    named = set(re.findall(r"\bswarm_[a-z]+(?:\.[a-z_]+)+", pages))
    assert of_modules(SOURCES, outside | named) == []


def test_a_private_module_without_an_underscore_is_found() -> None:
    folder = Path("packages/x/src/swarm_x")
    sources = {
        folder / "__init__.py": "from swarm_x.shown import f",
        folder / "shown.py": "f = 1",
        folder / "own.py": "",
    }
    assert of_modules(sources, set()) == ["swarm_x.own"]
    assert of_modules(sources, {"swarm_x.own"}) == []
