"""Draw docs/architecture.md's pictures from the code: the graph of packages, and the wings of each package by floor.

`architecture.py` writes what stands between the page's marks; `--check` only compares, and a test does.
"""

import argparse
import ast
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import graph
import wings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"


def packages() -> str:
    """The law of imports as a Mermaid graph."""
    arrows = [f"    {package} --> {other}" for package, others in graph.GRAPH.items() for other in sorted(others)]
    alone = [f"    {package}" for package, others in graph.GRAPH.items() if not others]
    return "\n".join(["```mermaid", "graph TD", *arrows, *alone, "```"])


def rooms() -> str:
    """Each package's wings, the highest floor first, with the first sentence of their docstrings."""
    modules = wings.read()
    lines = ["| package | floor | wing | holds |", "|---|---|---|---|"]
    for package in (f"swarm_{name}" for name in wings.PACKAGES):
        levels = list(enumerate(wings.floors(wings.rooms(modules, package))))
        for number, level in reversed(levels):
            for room in level:
                folder = ROOT / "packages" / package.removeprefix("swarm_") / "src" / room.replace(".", "/")
                if (folder / "__init__.py").exists():
                    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
                    first = " ".join(said.split("\n\n")[0].split())
                    lines.append(f"| {package} | {number} | `{folder.name}` | {first} |")
    return "\n".join(lines)


DRAWN = {"packages": packages, "wings": rooms}


def page() -> str:
    """The page with its pictures as the code is now."""
    text = PAGE.read_text()
    for name, draw in DRAWN.items():
        begin, end = f"<!-- {name}: drawn by `hatch run architecture` -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + draw() + "\n" + end + rest.split(end, 1)[1]
    return text


def main() -> int:
    """Write the page, or say that it is stale; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when the page would change")
    check = parser.parse_args().check
    drawn = page()
    if drawn == PAGE.read_text():
        return 0
    print(f"{PAGE.relative_to(ROOT)}: {'run hatch run architecture' if check else 'written'}")
    if not check:
        PAGE.write_text(drawn)
    return int(check)


if __name__ == "__main__":
    sys.exit(main())
