"""Fixtures of the health protocol's tests."""

import pytest

from swarm_health import pipe


@pytest.fixture
def ends():
    """Both ends of a health pipe: (reader, writer)."""
    reader, writer = pipe()
    yield reader, writer
    reader.close()
    writer.close()
