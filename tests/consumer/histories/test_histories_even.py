"""The first half of the random histories; `benchmarks/histories` says what each is judged by."""

from collections.abc import Callable

import pytest

COUNT = 1000


@pytest.mark.parametrize("chunk", range(0, 20, 2))
def test_no_offset_passes_a_record_that_nothing_covers(chunk: int, alone: Callable[..., None]) -> None:
    alone("benchmarks.consumer_histories", "--count", str(COUNT), "--seed", str(chunk * COUNT), "--jobs", "1")
