"""Check the rooms inside each package, and print them: `wings.py` prints, and fails with one sentence for each problem.

A room is a wing (a sub-package) or a module beside them. The rules:
- no circle of imports, neither of modules nor of rooms (imports for type checkers are no imports of modules);
- what a package calls private (a name that begins with `_`) is imported by that package alone;
- a pure wing imports no client, no thread, no clock, no socket and no process, and nothing that does;
- the lock of a consumer's connection, its lanes and their ledger are touched by the wing of the connection alone.
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
PURE = {"swarm_consumer._scheduling"}
SHARED = {"lanes", "ledger"}
"""What a connection's lock guards: not an attribute of anything outside of the wings that have it."""
SHARING = ("swarm_consumer._connection", "swarm_consumer._scheduling")
IMPURE = {
    *("asyncio", "concurrent", "confluent_kafka", "ctypes", "datetime", "multiprocessing", "os", "psutil", "random"),
    *("select", "signal", "socket", "subprocess", "sys", "threading", "time"),
}


@dataclass
class Module:
    """One file and what it imports: modules of the project and others, by dotted name."""

    name: str
    room: str
    needs: set[str] = field(default_factory=set)
    typed: set[str] = field(default_factory=set)
    """Only for type checkers."""
    foreign: set[str] = field(default_factory=set)
    """Of other packages than the project's, as the first part of the name; for type checkers excepted."""
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
            is_wing = len(parts) > 2 or (path.parent / parts[-1]).is_dir() or path.name == "__init__.py"
            room = ".".join(parts[:2]) if len(parts) > 1 or is_wing else name
            found[name] = Module(name, room), path
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
            if name in known:
                if name != module.name:
                    (module.typed if id(node) in guarded else module.needs).add(name)
            elif id(node) not in guarded:
                module.foreign.add(name.partition(".")[0])


def _reached(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = node.value
            name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
            is_private = node.attr.startswith("_") or node.attr == "lock"
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
    """The arrows between the rooms of one package, imports for type checkers included."""
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
    for package in sorted({module.name.partition(".")[0] for module in modules.values()}):
        if found := circle(rooms(modules, package)):
            yield "these rooms import each other: " + " -> ".join(found)
    for module in modules.values():
        package = module.name.partition(".")[0]
        for name in sorted(module.needs | module.typed):
            first, *inner = name.split(".")
            if first != package and any(part.startswith("_") for part in inner):
                yield f"{module.name} imports {name}, which is private to {first}"
        for reach in sorted(module.reached):
            yield f"{module.name} reaches into a connection: {reach}; it has methods for what others may do"
        if any(module.name.startswith(f"{wing}.") for wing in PURE):
            yield from _impurities(module, modules)


def _impurities(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    seen, waiting = {module.name}, [module.name]
    while waiting:
        name = waiting.pop()
        for bad in sorted(modules[name].foreign & IMPURE):
            yield f"{module.name} is to be pure, and imports {bad}" + (
                "" if name == module.name else f" through {name}"
            )
        waiting += modules[name].needs - seen
        seen |= modules[name].needs


def print_rooms(modules: dict[str, Module]) -> None:
    """The rooms of each package by floor, the highest first, with what each imports."""
    for package in (f"swarm_{name}" for name in PACKAGES):
        arrows = rooms(modules, package)
        levels = floors(arrows)
        count = sum(map(len, arrows.values()))
        print(f"{package}: {len(arrows)} rooms on {len(levels)} floors, {count} arrows")
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
