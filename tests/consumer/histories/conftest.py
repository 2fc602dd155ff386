"""Histories run in processes of their own.

They leave simulated threads (greenlets) in the middle of what those do, and CPython 3.11 then counts its recursion
wrongly and takes the event loop of one for running: whatever test came next in the same process would fail.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def alone() -> Callable[..., None]:
    """Run a module with arguments; what it printed is the failure where its exit code is not 0."""

    def run(module: str, *arguments: str, timeout_s: float = 110.0) -> None:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    return run
