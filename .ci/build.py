"""Build the sdist of every package and, from that sdist, its wheel. Usage: build.py [folder] (default: dist)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Build all packages into one folder; the first failure ends it."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()
    for pyproject in sorted(ROOT.glob("packages/*/pyproject.toml")):
        # hatchling is in the environment, so no isolated one is made for each of the twelve builds.
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(pyproject.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{pyproject.parent.name}: the build failed\n{done.stdout}{done.stderr}")
            return 1
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1024:8.0f} KiB  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
