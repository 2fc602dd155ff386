"""The second half of the random histories; `benchmarks/histories` says what each is judged by."""

import pytest

from benchmarks.histories.search import many

COUNT = 1000


@pytest.mark.parametrize("chunk", range(1, 20, 2))
def test_no_offset_passes_a_record_that_nothing_covers(chunk: int) -> None:
    _, found = many(range(chunk * COUNT, (chunk + 1) * COUNT))
    assert not found, str(found[0])
