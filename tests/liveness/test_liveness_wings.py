"""The house of the package: its wings, which way imports go, and what is pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import swarm_liveness

ROOT = Path(swarm_liveness.__file__).parent
MODULES = {
    ".".join(("swarm_liveness", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# From the top down: a wing imports what stands below it. The public modules that are no wing stand where they belong.
FLOORS = (
    {"checks", "metrics", "otel", "serving"},
    {"_serving"},
    {"_integrations", "_judging"},
    {"_threads", "metrics_table", "protocols", "settings"},
)
PURE = {
    "ages", "budget", "checks", "memory_watch", "node_statistics", "partition_series", "request", "routes",
    "schedule", "verdict",
}  # fmt: skip
IMPURE = {
    "asyncio", "logging", "os", "pathlib", "select", "signal", "socket", "subprocess", "sys", "threading", "time",
}  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at whatever depth, and for type checkers only too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


ARROWS = {module: {name for name in imported(path) if name in MODULES} for module, path in MODULES.items()}


def room(module: str) -> str:
    """The part of the package that a module belongs to; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_no_circle_of_imports() -> None:
    left = dict(ARROWS)
    while free := [module for module, below in left.items() if not below & left.keys() - {module}]:
        for module in free:
            del left[module]
    assert not left, f"these import each other: {sorted(left)}"


def test_imports_go_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    assert {room(module) for module in MODULES} - {""} == set(floor)
    for module, below in ARROWS.items():
        for other in below:
            here, there = room(module), room(other)
            if here and here != there:
                assert there, f"{module} imports the package's face"
                assert floor[here] < floor[there], f"{module} imports {other}"


def test_what_calls_itself_pure_imports_no_clock_no_thread_and_no_system() -> None:
    pure = [
        module
        for module, path in MODULES.items()
        if (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].endswith("Pure.")
    ]
    assert {module.rpartition(".")[2] for module in pure} == PURE
    for module in pure:
        roots = {name.partition(".")[0] for name in imported(MODULES[module])}
        assert not roots & IMPURE, module


def test_the_public_paths_stay() -> None:
    from swarm_liveness import checks, metrics, metrics_table, otel, protocols, serving, settings

    assert {"serve_supervisor", "ProcessProbes", "parse_address"} <= set(dir(serving))
    assert set(otel.__all__) == {"NodeTracing", "batch_span", "message_links", "traced"}
    assert set(metrics.__all__) == {"SwarmCollector", "SwarmEvents"}
    assert set(checks.__all__) == {"Check", "live", "process_live", "ready", "shown_state"}
    assert {"BY_NAME", "METRICS", "Detail", "Metric", "markdown"} <= set(dir(metrics_table))
    assert {"Limits", "LivenessSettingsError", "ProbeError"} <= set(dir(settings))
    assert {"Loop", "Observable", "Reporter", "SnapshotView"} <= set(dir(protocols))


def test_docstrings_have_one_form() -> None:
    """Errors in a sentence, parameters in the text or in a list of `name`: as in the other packages."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                lines = [line.strip() for line in (ast.get_docstring(node) or "").splitlines()]
                assert not {"Args:", "Raises:", "Returns:", "Yields:", "::"} & set(lines), (module, lines[0])
