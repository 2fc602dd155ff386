"""Check the words that people read: error messages, log lines, help texts, event texts, docstrings, comments, pages.

`BANNED` has turns that a native engineer would not use, each with the reason. They are searched, over line breaks, in
- every string literal, docstring and comment of the packages' sources, so all that is raised, logged or explained;
- the string literals of examples and benchmarks, templates of `swarm-cli init`, the page, and the alerts in deploy/;
- the text of README files and docs, without code blocks.
`PHRASES` are whole sentences of earlier versions that must not return in any file of the repository, pictures excluded.
A finding is an error.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

BANNED = {
    r"so long(?! as)": "which time? Name it: `within SECONDS`, `for 5 s`",
    r"so (?:many|much|often)\b(?! as| that)": "how many? Name the number or the option: `every SECONDS`",
    r"whoever": "name the reader, the client, the process",
    r"whom": "name the node or the process, subject first",
    r"nobody": "say `no one`, or better a noun: `no process`, `without an owner`",
    r"somebody|anybody": "say `someone`, or better a noun: `another process`, `another user`",
    r"of which there are": "an inverted clause: put the noun first",
    r"what of (?:it|them|a|an|the)\b": "an inverted clause: `which of them`",
    r"goes on(?! to\b)|go on(?= (?:at|with|behind|by|meanwhile)\b|[.,:;]|$)": "say `continues`",
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
    r"whatever happens|whatever (?:it|they) (?:is|are|does|do)": "say `under any fault`, or name the case",
    r"(?:is|are) (?:not )?to be (?!a\b|the\b)": "say `must`, `should`, or who does it",
    r"comes? and goes?": "say `changes`, `is added or removed`",
    r"is done with|are done with": "say `is finished`, `is handled`",
    r"from then on": "say `afterwards`",
    r"sees? to (?:it|that)": "say `ensures`, or name what does it",
    r"(?:those|the one) who\b": "name the reader, the client, the process",
}
"""Turns that no one should read (regular expressions, any case) -> why, and what to write in their place."""

PHRASES = [
    "Of others in the | supervisor",
    "for what there | is not",
    "whose child it is | is known",
    "events of which | there are many",
    "Leave without those | whom",
    "the same one twice | is one",
    "Nobody is to | be blamed",
    "come thick | and fast",
    "nearer than this are | told exactly",
    "once in their | own time",
    "so many messages in flight are | no reason",
    "is told again after | so long",
    "which they would leave | half-way",
    "No setting is | as large",
    "no line is lost or | twice there",
    "Look so | often",
    "if no broker answers | so long",
    "For a group to | settle",
    "does not read | his answers",
    "is what of a | consumer group",
    "with nothing else | prepared",
    "what is handled twice is | what was in flight",
    "does the process | turn",
    "holds the interpreter | falls silent",
    "for exactly the options | that you give it",
    "a name that | nothing has",
    "which of them are | in force",
    "Wait for so | long",
    "Run so many | nodes",
    "no way back but | new processes",
    "what of it the | filters",
    "would have for | itself",
    "a node that keeps dying | will wait",
    "whose pid `swarm-cli status` | tells",
    "what it had not committed is | read again",
    "A command that begins something | waits",
    "and the swarm goes | on",
    "whatever of the | faults",
    "does for all commands | of a shell",
    "connections belong | into",
]
"""Parts of sentences that must not return. The bar is no part of them: it keeps this list out of a search for them."""


def compiled() -> list[tuple[re.Pattern[str], str]]:
    """The table as patterns for whole words; any space matches a line break too."""
    return [(re.compile(rf"\b(?:{turn})".replace(" ", r"\s+"), re.IGNORECASE), why) for turn, why in BANNED.items()]


def literals(source: str, docstrings: bool = True) -> Iterator[tuple[int, str]]:
    """(line, text) of each literal of a module; an f-string is one text."""
    alone = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and not docstrings:
            alone.add(id(node.value))
        elif id(node) in alone:
            continue
        elif isinstance(node, ast.JoinedStr):
            # `f"{name} ended so {how}"` is read whole; a value is not a word.
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            yield node.lineno, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value
            yield node.lineno, value if isinstance(value, str) else value.decode(errors="replace")


def comments(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each comment; lines of comment that follow each other are one text."""
    first, text, last = 0, "", -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if text and token.start[0] != last + 1:
                yield first, text
                text = ""
            first = first if text else token.start[0]
            text += f"{token.string.lstrip('# ')}\n"
            last = token.start[0]
    if text:
        yield first, text


def prose(page: str) -> str:
    """The text of a Markdown page without its code blocks and without code in backquotes; lines keep their numbers."""
    lines, code = [], False
    for line in page.splitlines():
        fence = line.lstrip().startswith("```")
        code ^= fence
        lines.append("" if code or fence else line)
    return re.sub(r"`[^`\n]*`", "\0", "\n".join(lines))


def texts(root: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, line, text) of everything that people read."""
    for path in sorted(root.glob("packages/*/src/**/*.py")):
        source = path.read_text()
        yield from ((path, line, text) for line, text in literals(source))
        yield from ((path, line, text) for line, text in comments(source))
    for pattern in ("examples/**/*.py", "benchmarks/**/*.py", "docs/**/*.py"):
        for path in sorted(root.glob(pattern)):
            yield from ((path, line, text) for line, text in literals(path.read_text(), docstrings=False))
    for pattern in ("packages/*/src/**/*.template", "packages/*/src/**/*.html", "deploy/**/*.yaml", "deploy/**/*.json"):
        yield from ((path, 1, path.read_text()) for path in sorted(root.glob(pattern)))
    for path in sorted([*root.glob("*.md"), *root.glob("packages/*/README.md"), *root.glob("docs/**/*.md")]):
        if path.name != "CHANGELOG.md":  # what was said then stays said
            yield path, 1, prose(path.read_text())


def tree(root: Path) -> Iterator[tuple[Path, str]]:
    """(file, text) of every text file of the repository."""
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") and part not in (".ci", ".github") for part in path.relative_to(root).parts)
        if hidden or "__pycache__" in path.parts or not path.is_file() or path.stat().st_size > 2**20:
            continue
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def findings(root: Path) -> Iterator[str]:
    """One line for each banned turn that people would read, and for each sentence that has returned."""
    patterns = compiled()
    for path, first, text in texts(root):
        for pattern, why in patterns:
            for found in pattern.finditer(text):
                line = first + text.count("\n", 0, found.start())
                yield f"{path.relative_to(root)}:{line}: {' '.join(found[0].split())!r}: {why}"
    # Over line breaks, and over the marks of a comment or a quotation that begin a line.
    joints = [
        re.compile(r"[\s#>*]+".join(map(re.escape, phrase.replace("|", " ").split())), re.IGNORECASE)
        for phrase in PHRASES
    ]
    for path, text in tree(root):
        for joint in joints:
            for found in joint.finditer(text):
                line = 1 + text.count("\n", 0, found.start())
                yield f"{path.relative_to(root)}:{line}: {' '.join(found[0].split())!r}: say it plainly"


def main() -> int:
    """Print the findings; 1 if there are any."""
    found = sorted(set(findings(ROOT)))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
