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
