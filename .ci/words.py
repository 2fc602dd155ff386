"""Check the words that a user reads: error messages, log lines, help texts, event texts, documentation.

`BANNED` has turns that a native engineer would not use, each with the reason. They are searched in every string literal
of the packages' sources that is not a docstring (what is raised, logged, printed or shown as help) and in the text of
README files and docs/*.md, without code blocks. A finding is an error.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

BANNED = {
    r"so long(?! as)": "which time? Name it: `within SECONDS`, `for 5 s`",
    r"so (?:many|often)\b(?! as| that)": "how many? Name the number or the option: `every SECONDS`",
    r"whoever": "name the reader, the client, the process",
    r"whom": "name the node or the process, subject first",
    r"nobody": "say `no one`, or better a noun: `no process`, `without an owner`",
    r"somebody|anybody": "say `someone`, or better a noun: `another process`, `another user`",
    r"of which there are": "an inverted clause: put the noun first",
    r"what of (?:it|them|a|an|the)\b": "an inverted clause: `which of them`",
    r"goes on|go on(?= (?:at|with|behind|by|meanwhile)\b|[.,:;]|$)": "say `continues`",
    r"tells": "say `shows`, `says` or `reports`",
    r"anew": "say `again`, or a verb with re-: `restarts`, `recreated`",
    r"by itself": "say `on its own`, `unexpectedly`, `alone` or `automatically`",
    r"of others in": "a clause without a verb: say what happens",
    r"for what there (?:is|are) not": "name what is missing",
    r"is (?:being )?made anew|sought anew": "say `recreated`, `fetched again`",
    r"holds? up": "say `blocks`",
    r"hurts? nobody": "say `affects nothing else`",
    r"blanks?": "say `space`",
    r"parted by": "say `separated by`",
    r"belongs? into": "say `belongs in`",
    r"with nothing else (?:prepared|installed)": "say `nothing else is needed`",
    r"(?:stops?|stopped|ends?) (?:\w+ ){0,3}in order\b": "say `gracefully`",
}
"""Turns that no user should read (regular expressions, any case) -> why, and what to write in their place."""


def compiled() -> list[tuple[re.Pattern[str], str]]:
    """The table as patterns for whole words."""
    return [(re.compile(rf"\b(?:{turn})", re.IGNORECASE), why) for turn, why in BANNED.items()]


def literals(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every string literal of a module that is not a docstring; of an f-string, its constant parts."""
    tree = ast.parse(source)
    docs = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.If, ast.With))
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def docstrings_of_commands(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings of a module's functions: for a command it is the help text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and (text := ast.get_docstring(node)):
            yield node.lineno, text


def prose(page: str) -> Iterator[tuple[int, str]]:
    """(line, text) of a Markdown page without its code blocks and without code in backquotes."""
    code = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield number, re.sub(r"`[^`]*`", "", line)


def texts(root: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, line, text) of everything that a user reads."""
    for path in sorted(root.glob("packages/*/src/**/*.py")):
        source = path.read_text()
        yield from ((path, line, text) for line, text in literals(source))
        if path.parent.name == "commands":
            yield from ((path, line, text) for line, text in docstrings_of_commands(source))
    for path in sorted([*root.glob("*.md"), *root.glob("packages/*/README.md"), *root.glob("docs/*.md")]):
        if path.name != "CHANGELOG.md":  # what was said then stays said
            yield from ((path, line, text) for line, text in prose(path.read_text()))


def findings(root: Path) -> Iterator[str]:
    """One line for each banned turn that a user would read."""
    patterns = compiled()
    for path, line, text in texts(root):
        for pattern, why in patterns:
            if found := pattern.search(text):
                yield f"{path.relative_to(root)}:{line}: {found[0]!r}: {why}"


def main() -> int:
    """Print the findings; 1 if there are any."""
    found = list(findings(ROOT))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
