"""The second half of 50,000 random histories of crashes: nothing is passed, and only what was in hand is repeated."""

from __future__ import annotations

import pytest

from benchmarks.crashes import search

COUNT = 5000


@pytest.mark.parametrize("chunk", range(1, 10, 2))
def test_no_owner_passes_a_record_that_no_handler_was_given(chunk: int):
    counts, found = search.many(range(chunk * COUNT, (chunk + 1) * COUNT))
    assert not found, found[0]
    assert counts["taken over"] > COUNT / 10, "otherwise nothing is proved"
