"""Check that the rooms of pure decisions import nothing that waits, forks, reads a clock or starts a thread.

What is pure can be tested with a simulated clock and without a process; one import of the shell would end that without
a test that fails. So each room has a list of what its modules may import, and everything else is an error, at whatever
depth (imports inside functions count too). Values outside of a room that it may use are held to the same list. An
import under TYPE_CHECKING runs nothing: a row says of which packages a room may name types.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HARMLESS = frozenset({
    "bisect", "collections", "collections.abc", "dataclasses", "difflib", "enum", "functools", "heapq", "itertools",
    "math", "operator", "re", "typing",
})  # fmt: skip
"""Modules of the standard library that all decisions may use."""


@dataclass(frozen=True)
class Room:
    """A folder of pure modules, and what they may import beside one another and `HARMLESS`."""

    package: str
    folder: str
    values: frozenset[str]
    """Modules of the same package, held to the same rules."""
    foreign: frozenset[str]
    """What else it may import: ``module`` for all of one, ``module:name`` for a single name."""
    types: frozenset[str] = frozenset()
    """Packages whose modules it may name for type checkers."""


ROOMS = [
    Room(
        package="swarm_supervisor",
        folder="_core",
        values=frozenset({"_ends", "_event", "events", "_node_events", "settings", "_settings_keywords", "_snapshot"}),
        foreign=frozenset({
            "msgspec", "swarm_health:Accounts", "swarm_health:NodeStatistics", "swarm_health:PartitionAccount",
            "swarm_health:Status", "swarm_health:TopicStatistics", "swarm_health:Totals",
            "logging",  # the names of its levels
            "pathlib",  # a path as a value
            "random",   # the default of a setting: tests hand in numbers of their own
        }),
    ),
    Room(
        package="swarm_consumer",
        folder="_scheduling",
        values=frozenset(),
        foreign=frozenset({
            "contextvars:ContextVar",  # the run that a thread has in hand: a value that starts none
        }),
        types=frozenset({"swarm_consumer", "confluent_kafka"}),
    ),
]  # fmt: skip


def imports(path: Path) -> Iterator[tuple[int, str, str, bool]]:
    """(line, module, name, for type checkers alone) of every import of a file; the name is "" for ``import module``."""
    tree = ast.parse(path.read_text(), str(path))
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "", id(node) in typed) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name, id(node) in typed) for alias in node.names)


def allowed(room: Room, module: str, name: str, typed: bool) -> bool:
    """Whether a module of the room may import this."""
    wing = f"{room.package}.{room.folder}"
    values = {f"{room.package}.{value}" for value in room.values}
    return (
        module in HARMLESS
        or module == "__future__"
        or module == wing
        or module.startswith(f"{wing}.")
        or module in values
        or (module == room.package and f"{module}.{name}" in values)
        or module in room.foreign
        or f"{module}:{name}" in room.foreign
        or (typed and module.partition(".")[0] in room.types)
    )


def problems() -> Iterator[str]:
    """One sentence for each import that a room of pure decisions must not have."""
    for room in ROOMS:
        (source,) = ROOT.glob(f"packages/*/src/{room.package}")
        paths = sorted((source / room.folder).rglob("*.py"))
        if not paths:
            yield f"{source.relative_to(ROOT)}/{room.folder}: no module is there: move the row of ROOMS along"
        for path in [*paths, *(source / f"{value}.py" for value in sorted(room.values))]:
            for line, module, name, typed in imports(path):
                if not allowed(room, module, name, typed):
                    what = f"{module}.{name}" if name else module
                    yield f"{path.relative_to(ROOT)}:{line}: imports {what}, and decisions are pure"


def main() -> int:
    """Print each problem; 1 when there is one."""
    found = list(problems())
    for problem in found:
        print(problem)
    print(f"pure rooms: {len(found)} problem(s) in {', '.join(f'{room.package}.{room.folder}' for room in ROOMS)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
