"""``hatch run bench [NAME [ARGUMENTS]]``: run one benchmark, or list them all with what each measures."""

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def described() -> dict[str, str]:
    """Name → first line of its docstring, of every benchmark of this folder; none is imported for it."""
    found = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        found[path.stem] = summary
    return found


def main() -> int:
    """Run the benchmark that is named, as ``python -m benchmarks.NAME`` would; list them when none is."""
    benchmarks = described()
    if len(sys.argv) < 2:
        width = max(map(len, benchmarks), default=0)
        for name, summary in benchmarks.items():
            print(f"{name:<{width}}  {summary}")
        return 0
    name = sys.argv[1]
    if name not in benchmarks:
        print(f"There is no benchmark {name!r}; there are {', '.join(benchmarks) or 'none'}.", file=sys.stderr)
        return 2
    sys.argv = sys.argv[1:]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
