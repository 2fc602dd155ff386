"""What the example's tests share: the reference tables, loaded once."""

import pytest

from examples.flights import reference


@pytest.fixture(scope="session")
def tables() -> reference.Reference:
    return reference.load()
