"""What the histories can find, and that they are what they say: power.py, in a process of its own (see conftest.py)."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_the_histories_find_what_they_should(alone: Callable[..., None]) -> None:
    tests = Path(__file__).with_name("power.py")
    alone("pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(tests), timeout_s=590.0)
