"""Amounts as people write them, on the command line, in the environment and in a file."""

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from swarm_cli import units
from swarm_cli.configuration import checked
from swarm_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [("30", 30), ("30s", 30), (" 1.5 m ", 90), ("500ms", 0.5), ("2H", 7200), ("1d", 86400), (".5", 0.5), ("1e3", 1000)],
)
def test_seconds(text: str, value: float) -> None:
    assert units.seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("150", 150), ("150MB", 150), ("150M", 150), ("150MiB", 150), ("1.5gb", 1536), ("512k", 0.5), ("1T", 2**20)],
)
def test_megabytes(text: str, value: float) -> None:
    assert units.megabytes(text) == value


@pytest.mark.parametrize("read", [units.seconds, units.megabytes, units.number])
@pytest.mark.parametrize("text", ["", "soon", "30 parsecs", "1,5", "3 s s", "s30", "--", "٣"])
def test_what_is_no_amount_is_one_sentence_with_an_example(read: "object", text: str) -> None:
    assert callable(read)
    with pytest.raises(typer.BadParameter, match="give ") as caught:
        read(text)
    assert "like" in caught.value.message


@given(st.floats(0, 1e12))
def test_a_number_alone_is_what_it_says(value: float) -> None:
    assert units.seconds(repr(value)) == units.megabytes(repr(value)) == units.number(repr(value)) == value


def test_a_file_takes_them_too() -> None:
    values = checked("swarm.toml", {"drain-timeout": "30s", "memory-limit": "1.5GB", "boot-timeout": 5}).values
    assert values == {"drain_timeout": 30.0, "memory_limit": 1536.0, "boot_timeout": 5.0}
    with pytest.raises(UsageError, match=r"swarm\.toml: drain-timeout: 'soon' is not a valid amount"):
        checked("swarm.toml", {"drain-timeout": "soon"})
