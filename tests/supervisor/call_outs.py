"""Every place in the supervisor where something foreign is called, found by reading the code, and made to raise.

Foreign is what is not known to be harmless: the kernel, the C library, the log, listeners, timers, readers, sockets. A
call is harmless if its name is a builtin, a value's own method, or a function of the package itself, in whose body the
same is asked again.
"""

import ast
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("swarm_supervisor").submodule_search_locations[0])
PURE = {"containment", "event", "events", "lifecycle", "node_events", "settings", "snapshot"}
"""Values and their words, beside `_core`: they call nothing foreign, which `impure` proves of both."""
ELSEWHERE = {"__init__", "control_client", "node", "flags", "orders", "offspring", "logs", "cpus"}
"""Not in the process of a running supervisor: in the client, in the node, in a handler that contains its own."""
FOREIGN_MODULES = {"os", "signal", "select", "socket", "fcntl", "resource", "ctypes", "gc", "threading", "logging"}
HARMLESS_MODULES = {"time", "math", "struct", "contextlib", "functools", "itertools", "tempfile", "errno", "stat"}
VALUES = {
    "append", "popleft", "pop", "get", "items", "values", "keys", "extend", "clear", "partition", "rpartition", "split",
    "splitlines", "strip", "startswith", "endswith", "encode", "decode", "join", "setdefault", "count", "lower",
    "update", "sort", "add", "discard", "index", "with_name",
}  # fmt: skip
"""Methods of lists, dicts and texts."""
AMBIGUOUS = {"close", "read", "fileno", "wait", "poll", "signal", "cleanup", "emit", "run", "accept", "set", "bind"}
"""Names of the package's own methods that foreign things have as well."""
NOT_CALLED = {"contextmanager", "property", "TypeVar", "super"}


def noun(stem):
    """A module's name without the underscore of a private one."""
    return stem if stem.startswith("__") else stem.removeprefix("_")


FILES = {noun(path.stem): path for path in sorted(PACKAGE.glob("*.py"))}
"""Every module beside `_core`, by its noun."""


def modules():
    """The modules to look into, by noun."""
    return {name: path for name, path in FILES.items() if name not in PURE and name not in ELSEWHERE}


def impure():
    """Modules of `PURE` that import what only a shell needs: there should be none."""
    found = {}
    for path in [*(FILES[name] for name in PURE), *(PACKAGE / "_core").glob("*.py")]:
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if bad := imported & (FOREIGN_MODULES - {"os", "logging"}):
            found[path.stem] = bad
    return found


def own_names():
    """Functions, classes and methods of the package."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
    return names - {
        "close",
        "read",
        "fileno",
        "wait",
        "poll",
        "signal",
        "cleanup",
        "emit",
        "run",
        "accept",
        "set",
        "bind",
    }


OWN = own_names()


def foreign(call):
    """Whether a call goes to something that is not known to be harmless."""
    target = call.func
    if isinstance(target, ast.Name):
        name = target.id
        return name not in OWN and name not in NOT_CALLED and not hasattr(builtins, name)
    if isinstance(target, ast.Attribute):
        root = target.value
        if isinstance(root, ast.Name) and root.id in FOREIGN_MODULES:
            return True
        if isinstance(root, ast.Name) and root.id in HARMLESS_MODULES:
            return False
        return target.attr not in OWN and target.attr not in VALUES
    return True


class Marker(ast.NodeTransformer):
    """Puts a mark, `__call_out__(point, function)`, in the place of each function that is called out to."""

    def __init__(self, module):
        self.module = module
        self.scope = []
        self.points = []

    def visit_FunctionDef(self, node):
        node.decorator_list, decorators = [], node.decorator_list
        self.scope.append(node.name)
        self.generic_visit(node)
        self.scope.pop()
        node.decorator_list = decorators
        return node

    def visit_ClassDef(self, node):
        self.scope.append(node.name)
        self.generic_visit(node)
        self.scope.pop()
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        if self.scope and foreign(node) and any(part[0].islower() or part[0] == "_" for part in self.scope):
            text = node.written
            point = f"{self.module}:{'.'.join(self.scope)}:{text}"
            point = f"{point}#{sum(each.startswith(f'{point}#') for each in self.points)}"
            self.points.append(point)
            node.func = ast.copy_location(
                ast.Call(
                    func=ast.Name(id="__call_out__", ctx=ast.Load()),
                    args=[ast.Constant(value=point), node.func],
                    keywords=[],
                ),
                node,
            )
        return node


def mark(name, path):
    """The module with its marks, and the points that were found in it."""
    marker = Marker(name)
    # Unparsed names contain marks of inner calls: a point is named by the code as it is written.
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.written = ast.unparse(node.func)
    tree = marker.visit(tree)
    return ast.fix_missing_locations(tree), marker.points


def points():
    """All of them."""
    return [point for name, path in modules().items() for point in mark(name, path)[1]]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the marked modules in the place of those on disk."""

    def find_spec(self, fullname, path, target=None):
        package, _, name = fullname.rpartition(".")
        if package != "swarm_supervisor" or noun(name) not in modules():
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(FILES[noun(name)]))

    def exec_module(self, module):
        name = noun(module.__name__.rpartition(".")[2])
        path = FILES[name]
        module.__file__ = str(path)
        tree, _ = mark(name, path)
        exec(compile(tree, str(path), "exec"), module.__dict__)


def install(call_out):
    """Have everything that is imported from now on call through `call_out(point, function)`."""
    builtins.__call_out__ = call_out
    for name in [each for each in sys.modules if each.split(".")[0] == "swarm_supervisor"]:
        del sys.modules[name]
    sys.meta_path.insert(0, Finder())
