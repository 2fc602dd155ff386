"""Write down every public name of the packages with its kind and signature; `names.py` writes, `--check` only compares.

One text file a package, tests/project/public_names/<package>.txt, one line a name. A test compares them with the
sources, so that no public name or signature is lost or changed by accident: what is meant is written with
`hatch run names`, and is then seen in the review.

The sources are read, not imported: the lines are the same under every Python. Public is what a package exports, and
the modules of `MODULES`: those that the documentation names. Commands of the command line belong to it too: their
options are read from the program itself.
"""

import argparse
import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("tests") / "project" / "public_names"
MODULES: dict[str, tuple[str, ...]] = {
    "swarm_pidfd": (),
    "swarm_health": ("figures",),
    "swarm_supervisor": ("cpus:available_cpus", "events", "fork:die_with_parent", "lifecycle", "logs"),
    "swarm_consumer": (
        "admin", "client_guard:refuse_clients", "errors", "events", "eviction", "progress",
        "routing:StaticIds", "testing",
        "testing.embedded_broker:main", "testing.kafka_broker:main", "testing.pytest_plugin:embedded_broker",
        "testing.pytest_plugin:kafka_broker", "testing.pytest_plugin:topic_name",
    ),
    "swarm_liveness": ("checks", "metrics", "metrics_table", "otel", "serving"),
    "swarm_cli": (),
}  # fmt: skip
"""The modules that documentation names, beside what each package exports itself; `module:name` for one name only."""
_UNTOLD = {"__del__", "__init_subclass__", "__post_init__", "__reduce__", "__repr__", "__set_name__", "__str__"}
"""Special methods that are no promise: every object has them, or no user calls them."""
_OF_TYPER = {"--install-completion", "--show-completion"}


class Module:
    """One file: what its top level binds."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.tree = ast.parse(path.read_text())
        self.bound: dict[str, list[ast.stmt]] = {}
        """Each name, with what defines it: several definitions of one function are its overloads."""
        self.imported: dict[str, tuple[str, str]] = {}
        """Each imported name, with the module and the name there ("" for a module itself)."""
        self._read(self.tree.body)

    def _read(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module or "", alias.name)
            elif isinstance(node, ast.If | ast.Try):
                self._read(node.body)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                self.bound.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.bound.setdefault(target.id, []).append(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.bound.setdefault(node.target.id, []).append(node)

    def exported(self) -> list[str]:
        """`__all__`, or the names that a lazy module has in `_MODULES`, or what is defined here without a `_`."""
        for name in ("__all__", "_MODULES"):
            if name in self.bound:
                return [str(each) for each in ast.literal_eval(self.bound[name][0].value)]  # type: ignore[attr-defined]
        return [name for name in self.bound if not name.startswith("_")]


class Sources:
    """Every module of every package below a root."""

    def __init__(self, root: Path) -> None:
        self._modules: dict[str, Module] = {}
        for source in sorted(root.glob("packages/*/src")):
            for path in source.rglob("*.py"):
                parts = path.relative_to(source).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                self._modules[name] = Module(name, path)

    def lines(self, package: str) -> Iterator[str]:
        """One line for each public name of a package."""
        for entry in ("", *MODULES[package]):
            inner, _, only = entry.partition(":")
            name = f"{package}.{inner}" if inner else package
            module = self._modules[name]
            for exported in [only] if only else sorted(module.exported()):
                yield from self._name(f"{name}.{exported}", module, exported)

    def _found(self, module: Module, name: str) -> tuple[Module, list[ast.stmt]]:
        """Where a name is defined; no statement when it is none of the project's."""
        while name not in module.bound:
            where = module.imported.get(name)
            if where is None or where[0] not in self._modules or f"{where[0]}.{where[1]}" in self._modules:
                return module, []
            module, name = self._modules[where[0]], where[1]
        return module, module.bound[name]

    def _name(self, path: str, module: Module, name: str) -> Iterator[str]:
        module, nodes = self._found(module, name)
        if not nodes:
            yield f"{path}: {'module' if name in module.imported else 'MISSING'}"
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                yield from self._class(path, module, node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._function(path, module, node)
            else:
                yield f"{path}: {_constant(node)}"

    def _class(self, path: str, module: Module, node: ast.ClassDef) -> Iterator[str]:
        words = [ast.unparse(base) for base in node.bases] + [ast.unparse(word) for word in node.keywords]
        yield f"{path}: {_decorators(node)}class({', '.join(words)})"
        members: dict[str, list[str]] = {}
        for where, owner in reversed(self._lineage(module, node)):
            own: dict[str, list[str]] = {}
            for name, line in self._members(path, where, owner):
                own.setdefault(name, []).append(line)
            members |= own  # what a class defines hides what it inherits, and inherited names count as its own
        for name in sorted(members):
            yield from members[name]

    def _lineage(self, module: Module, node: ast.ClassDef) -> list[tuple[Module, ast.ClassDef]]:
        """A class and those of the project that it derives from, the nearest first, each with its module."""
        found = [(module, node)]
        for base in node.bases:
            plain = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(plain, ast.Name):
                where, nodes = self._found(module, plain.id)
                if nodes and isinstance(nodes[0], ast.ClassDef):
                    found += self._lineage(where, nodes[0])
        return found

    def _members(self, path: str, module: Module, node: ast.ClassDef) -> Iterator[tuple[str, str]]:
        """(name, line) of each public attribute and method that a class itself defines."""
        declared = set()
        for line in node.body:
            if isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef):
                special = line.name.startswith("__") and line.name.endswith("__") and line.name not in _UNTOLD
                if special or not line.name.startswith("_"):
                    for each in self._function(f"{path}.{line.name}", module, line):
                        yield line.name, each
                if line.name == "__init__":
                    for name, kind in _set_in(line):
                        if name not in declared:
                            declared.add(name)
                            yield name, f"{path}.{name}: {kind}"
            elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                name = line.target.id
                if not name.startswith("_"):
                    declared.add(name)
                    yield name, f"{path}.{name}: {ast.unparse(line.annotation)}{_default(line.value)}"
            elif isinstance(line, ast.Assign):
                for target in line.targets:
                    if isinstance(target, ast.Name) and not target.id.startswith("_"):
                        declared.add(target.id)
                        yield target.id, f"{path}.{target.id}: {_constant(line)}"

    def _function(self, path: str, module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
        """The line of a function, and one for each keyword that a TypedDict lists for it."""
        returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
        kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
        yield f"{path}: {_decorators(node)}{kind}({ast.unparse(node.args)}){returns}"
        hint = node.args.kwarg.annotation if node.args.kwarg else None
        if isinstance(hint, ast.Subscript) and ast.unparse(hint.value) == "Unpack" and isinstance(hint.slice, ast.Name):
            where, found = self._found(module, hint.slice.id)
            if found and isinstance(found[0], ast.ClassDef):
                keywords = [each for each in self._class(path, where, found[0]) if each.startswith(f"{path}.")]
                yield from (f"{path}({each.removeprefix(f'{path}.').replace(': ', '=): ', 1)}" for each in keywords)


def _set_in(init: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    """(name, type) of the public attributes that ``__init__`` sets, as far as the source says their types."""
    arguments = [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs]
    hints = {each.arg: each.annotation for each in arguments if each.annotation is not None}
    for node in ast.walk(init):
        kind = "value"
        if isinstance(node, ast.AnnAssign):
            targets, kind = [node.target], ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign):
            targets = [part for each in node.targets for part in (each.elts if isinstance(each, ast.Tuple) else [each])]
            if isinstance(node.value, ast.Name) and node.value.id in hints:
                kind = ast.unparse(hints[node.value.id])
            elif isinstance(node.value, ast.Call):
                kind = f"= {ast.unparse(node.value.func)}(...)"
            elif isinstance(node.value, ast.Constant):
                kind = type(node.value.value).__name__
        else:
            continue
        for target in targets:
            of_self = isinstance(target, ast.Attribute) and ast.unparse(target.value) == init.args.args[0].arg
            if of_self and not target.attr.startswith("_"):
                yield target.attr, kind


def _default(value: ast.expr | None) -> str:
    """What stands behind a field: its default. Of a row of settings the default alone, not the words of its help."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("row"):
        value = value.args[0]
    return "" if value is None else f" = {ast.unparse(value)}"


def _decorators(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return "".join(f"@{ast.unparse(each)} " for each in node.decorator_list)


def _constant(node: ast.stmt) -> str:
    """A constant's type, with its value where that is a plain one; a type made of others as it is written."""
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.annotation)
    assert isinstance(node, ast.Assign)
    value = node.value
    if isinstance(value, ast.Constant):
        # A version changes with each release, and a long text says nothing about what may be done with it.
        short = not isinstance(value.value, str) or len(value.value) < 60
        shown = f" = {value.value!r}" if short and ast.unparse(node.targets[0]) != "__version__" else ""
        return f"{type(value.value).__name__}{shown}"
    if isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp):
        return f"= {ast.unparse(value)}"
    if isinstance(value, ast.Call):
        return f"= {ast.unparse(value.func)}(...)"
    return {ast.Dict: "dict", ast.List: "list", ast.Set: "set", ast.Tuple: "tuple"}.get(type(value), "value")


def commands() -> list[str]:
    """One line for each command of swarm-cli and for each of its arguments and options."""
    import typer

    from swarm_cli.main import program

    found, waiting = [], [("swarm-cli", typer.main.get_command(program))]
    while waiting:
        path, command = waiting.pop()
        found.append(f"{path}: command")
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                found.append(f"{path} {str(parameter.name).upper()}: argument")
            elif not _OF_TYPER & {*parameter.opts}:
                hidden = ", hidden" if getattr(parameter, "hidden", False) else ""
                kind = "flag" if getattr(parameter, "is_flag", False) else "option"
                words = [*sorted(parameter.opts, key=len, reverse=True), *parameter.secondary_opts]
                found.append(f"{path} {', '.join(words)}: {kind}{hidden}")
        waiting += ((f"{path} {name}", inner) for name, inner in getattr(command, "commands", {}).items())
    return sorted(found)


@functools.cache
def _sources(root: Path) -> Sources:
    return Sources(root)


def rendered(package: str, root: Path = ROOT) -> str:
    """The file of one package."""
    head = (
        f"# Every public name of {package}, with kind and signature. A test compares it with the sources:\n"
        "# after a change that is meant, write it again with `hatch run names`.\n\n"
    )
    lines = list(_sources(root).lines(package))
    if package == "swarm_cli" and root == ROOT:
        lines += ["", *commands()]
    return head + "\n".join(lines) + "\n"


def difference(written: str, now: str) -> str:
    """What differs, one line a name: "-" before what was lost, "+" before what is new; empty when nothing does."""
    before, after = written.splitlines(), now.splitlines()
    lost = [f"- {line}" for line in before if line and line not in after]
    new = [f"+ {line}" for line in after if line and line not in before]
    # A changed signature is two lines, one below the other.
    return "\n".join(sorted([*lost, *new], key=lambda line: (line[2:].partition(": ")[0], line[0] == "+")))


def main() -> int:
    """Write the files, or say what differs; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when a file would change")
    check = parser.parse_args().check
    stale = 0
    for package in MODULES:
        path = ROOT / FOLDER / f"{package}.txt"
        text = rendered(package)
        written = path.read_text() if path.exists() else ""
        if written != text:
            stale += 1
            print(f"{path.relative_to(ROOT)}: {'run hatch run names' if check else 'written'}")
            print(difference(written, text))
            if not check:
                path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
