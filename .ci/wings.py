"""Check the rooms inside each package, and print them: `wings.py` prints, and fails with one sentence for each problem.

A room is a wing (a sub-package) or a module beside the wings. An arrow from one room to another is drawn once, however
many of their modules import each other, and one that only type checkers see counts too. The rules:
- no circle of imports, neither of modules nor of rooms (imports for type checkers are no imports of modules);
- the consumer stands on few floors, with few arrows: `LIMITS`;
- what a package calls private (a name that begins with `_`) is used by that package alone, be it imported or reached as
  an attribute. That holds for examples, benchmarks and documentation too; tests may look inside, and so may `INSIDERS`;
- the lock of a consumer's connection, its partitions and their ledger are used by the wing of the connection alone.

What the rooms of pure decisions may import is checked by pure.py.
"""

import argparse
import ast
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pidfd", "health", "supervisor", "consumer", "liveness", "cli")
LIMITS = {"swarm_consumer": (10, 70)}
"""The most floors and arrows of a package."""
SHARED = {"lanes", "ledger"}
"""What a connection's lock guards: not an attribute of anything outside of the wings that have it."""
SHARING = ("swarm_consumer._connection", "swarm_consumer._scheduling")
USERS = ("examples", "benchmarks", "docs")
"""Folders of code that uses the packages as their users do."""
INSIDERS = {
    "benchmarks/health_reports.py": "measures the encoding of reports alone",
    "benchmarks/crashes/": "runs ledger, partitions and memory in steps, and breaks them to see that this is noticed",
    "benchmarks/histories/": "runs the runtime on simulated threads, and breaks it to see that this is noticed",
}
"""Code that may use private names, each with the reason."""


@dataclass
class Module:
    """One file and the modules of the project that it imports, by dotted name."""

    name: str
    room: str
    needs: set[str] = field(default_factory=set)
    typed: set[str] = field(default_factory=set)
    """Only for type checkers."""
    reached: set[str] = field(default_factory=set)
    """What it reaches into of a connection, or of what that guards."""


def read() -> dict[str, Module]:
    """Every module of every package."""
    found: dict[str, tuple[Module, Path]] = {}
    for package in PACKAGES:
        source = ROOT / "packages" / package / "src"
        for path in sorted(source.rglob("*.py")):
            parts = list(path.relative_to(source).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            name = ".".join(parts)
            found[name] = Module(name, ".".join(parts[:2])), path
    for module, path in found.values():
        tree = ast.parse(path.read_text())
        _read_imports(module, tree, found.keys())
        if module.name.startswith("swarm_consumer.") and not module.name.startswith(SHARING):
            module.reached = set(_reached(tree))
    return {name: module for name, (module, _) in found.items()}


def _read_imports(module: Module, tree: ast.Module, known: Collection[str]) -> None:
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in known else node.module for each in inside]
        else:
            continue
        for name in names:
            if name in known and name != module.name:
                (module.typed if id(node) in guarded else module.needs).add(name)


def _reached(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = node.value
            name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
            is_private = node.attr.startswith("_") or node.attr in ("lock", "partitions")
            if node.attr in SHARED or (name.strip("_") == "connection" and is_private):
                yield ast.unparse(node)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The names on one circle; empty when there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def rooms(modules: dict[str, Module], package: str) -> dict[str, set[str]]:
    """The arrows between the rooms of one package, imports for type checkers included.

    The package's own `__init__` is no room: it says which names are public, and stands on all that have some.
    """
    own = [module for module in modules.values() if module.name.partition(".")[0] == package and module.name != package]
    arrows: dict[str, set[str]] = {module.room: set() for module in own}
    for module in own:
        for name in module.needs | module.typed:
            other = modules[name]
            if other.room != module.room and other.room in arrows:
                arrows[module.room].add(other.room)
    return arrows


def floors(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by floor, the lowest first: each stands on lower ones only."""
    sorter = TopologicalSorter(arrows)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found.append(ready)
        sorter.done(*ready)
    return found


def problems(modules: dict[str, Module]) -> Iterator[str]:
    """One sentence for each rule that is broken."""
    # Importing a module imports the packages around it first: a face that is a list of imports is above all the rest.
    if found := circle({name: module.needs for name, module in modules.items()}):
        yield "these modules import each other: " + " -> ".join(found)
    for package in (f"swarm_{name}" for name in PACKAGES):
        arrows = rooms(modules, package)
        if found := circle(arrows):
            yield "these rooms import each other: " + " -> ".join(found)
        elif package in LIMITS:
            for most, has, what in zip(
                LIMITS[package], (len(floors(arrows)), _count(arrows)), ("floors", "arrows"), strict=True
            ):
                if has > most:
                    yield f"{package} has {has} {what}, {most} at most: find the module that stands in the wrong room"
    for module in modules.values():
        for reach in sorted(module.reached):
            yield f"{module.name} reaches into a connection: {reach}; it has methods for what others may do"
    yield from private_uses()


def _count(arrows: dict[str, set[str]]) -> int:
    return sum(map(len, arrows.values()))


def private_uses() -> Iterator[str]:
    """One sentence for each private name of a package that code outside of it uses."""
    for package in PACKAGES:
        for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")):
            yield from _private_uses_in(path, f"swarm_{package}")
    for folder in USERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not str(path.relative_to(ROOT)).startswith(tuple(INSIDERS)):
                yield from _private_uses_in(path, "")


def _private_uses_in(path: Path, own: str) -> Iterator[str]:
    packages = {f"swarm_{name}" for name in PACKAGES} - {own}
    tree = ast.parse(path.read_text(), str(path))
    bound: dict[str, str] = {}
    """What each imported name of this file stands for, as far as it is of another package."""
    for node in ast.walk(tree):
        used = []
        if isinstance(node, ast.Import):
            for alias in node.names:
                used.append(alias.name)
                if alias.name.partition(".")[0] in packages:
                    bound[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in packages:
            for alias in node.names:
                used.append(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = used[-1]
        yield from _sentences(path, node, used, packages)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            # Each link of a chain is a node of its own: the one that ends in the private name is told.
            if first in bound and rest[-1].startswith("_"):
                yield from _sentences(path, node, [".".join((bound[first], rest[-1]))], packages)


def _sentences(path: Path, node: ast.AST, used: list[str], packages: Collection[str]) -> Iterator[str]:
    for name in used:
        first, *inner = name.split(".")
        if first in packages and any(part.startswith("_") and not part.endswith("__") for part in inner):
            line = getattr(node, "lineno", 0)
            yield f"{path.relative_to(ROOT)}:{line}: uses {name}, which is private to {first}"


def print_rooms(modules: dict[str, Module]) -> None:
    """The rooms of each package by floor, the highest first, with what each imports."""
    for package in (f"swarm_{name}" for name in PACKAGES):
        arrows = rooms(modules, package)
        levels = floors(arrows)
        print(f"{package}: {len(arrows)} rooms on {len(levels)} floors, {_count(arrows)} arrows")
        for number, level in reversed(list(enumerate(levels))):
            for room in level:
                below = ", ".join(sorted(each.partition(".")[2] for each in arrows[room]))
                print(f"  {number:2} {room.partition('.')[2]:<24} {below}")


def main() -> int:
    """Print, check, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quiet", action="store_true", help="print problems only")
    options = parser.parse_args()
    modules = read()
    found = list(problems(modules))
    if not options.quiet and not found:
        print_rooms(modules)
    for problem in found:
        print(problem)
    print(f"rooms: {len(found)} problem(s) in {len(modules)} modules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
