"""A copy of the sources in which an example edit is made, and programs that run with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("pidfd", "health", "supervisor", "consumer", "liveness", "cli")


def run(root: Path, *words: str, folder: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the packages below `root`."""
    sources = os.pathsep.join(str(root / "packages" / package / "src") for package in PACKAGES)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder or root, env={**os.environ, "PYTHONPATH": sources, "COLUMNS": "120", **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def copy_of_sources(folder: Path) -> Path:
    """The packages, and the page and the tool that belong to the table of settings, below `folder`."""
    copy = folder / "copy"
    for package in PACKAGES:
        shutil.copytree(
            ROOT / "packages" / package / "src", copy / "packages" / package / "src",
            ignore=shutil.ignore_patterns("__pycache__", "_flights"),
        )  # fmt: skip
    for name in (".ci/settings.py", "docs/configuration.md"):
        (copy / name).parent.mkdir()
        shutil.copy(ROOT / name, copy / name)
    return copy


def insert(path: Path, before: str, line: str) -> None:
    """Put a line in front of the only place of a text."""
    text = path.read_text()
    assert text.count(before) == 1, (path.name, before, text.count(before))
    path.write_text(text.replace(before, line + before))
