"""Check that imports follow the package graph, and that each package declares what it imports.

The graph below is the law of the project: an arrow that is not in it is an error, in whatever file, at whatever depth
(imports inside functions and under TYPE_CHECKING count too).
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRAPH: dict[str, set[str]] = {
    "pidfd": set(),
    "health": set(),
    "supervisor": {"pidfd", "health"},
    "consumer": set(),
    "liveness": {"health"},
    "cli": {"pidfd", "health", "supervisor", "consumer", "liveness"},
}
# Import name → distribution, where the two differ.
DISTRIBUTIONS = {
    "confluent_kafka": "confluent-kafka",
    "kafka": "kafka-python",
    "prometheus_client": "prometheus-client",
    "opentelemetry": "opentelemetry-api",
    "_pytest": "pytest",
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level name) of every absolute import of a file."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def declared(package: str) -> set[str]:
    """Distributions that a package's pyproject.toml names, extras included."""
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
    requirements = list(project.get("dependencies", []))
    for extra in project.get("optional-dependencies", {}).values():
        requirements += extra
    return {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def problems() -> Iterator[str]:
    """One sentence for each import or dependency that breaks the graph."""
    folders = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
    if folders != set(GRAPH):
        yield f"the packages are {sorted(folders)}, the graph knows {sorted(GRAPH)}"
    for package, allowed in GRAPH.items():
        own = {f"swarm_{package}"}
        reachable = {f"swarm_{other}" for other in allowed}
        named = declared(package)
        for extra in {name for name in named if name.startswith("swarm-")} - {f"swarm-{other}" for other in allowed}:
            yield f"packages/{package}/pyproject.toml: depends on {extra}, which the graph does not allow"
        used: set[str] = set()
        for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")):
            for line, name in imports(path):
                if name in own or name in sys.stdlib_module_names:
                    continue
                where = f"{path.relative_to(ROOT)}:{line}"
                distribution = DISTRIBUTIONS.get(name, name.replace("_", "-")).lower()
                used.add(distribution)
                if name.startswith("swarm_") and name not in reachable:
                    yield f"{where}: imports {name}, against the package graph"
                elif distribution not in named:
                    yield f"{where}: imports {name}, which packages/{package}/pyproject.toml does not declare"
        for unused in sorted(named - used):
            yield f"packages/{package}/pyproject.toml: declares {unused}, which nothing there imports"


def main() -> int:
    """Print each problem; 1 when there is one."""
    found = list(problems())
    for problem in found:
        print(problem)
    print(f"package graph: {len(found)} problem(s) in {len(GRAPH)} packages")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
