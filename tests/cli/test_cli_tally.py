"""The demo's count of records: what it calls lost, wrong and duplicated."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from swarm_cli.demonstration.tally import Tally

KEYS = st.integers(0, 20).map(lambda number: b"%d" % number)


def test_everything_once_is_clean() -> None:
    expected = {b"a": b"1", b"b": b"2"}
    tally = Tally(2)
    for key, value in expected.items():
        tally.add(key, value, "0")
    assert (tally.lost(expected), tally.wrong(expected), tally.duplicated, tally.distinct) == (0, 0, 0, 2)


def test_a_duplicate_that_differs_is_wrong_whichever_comes_first() -> None:
    expected = {b"a": b"1"}
    for values in ((b"1", b"x"), (b"x", b"1")):
        tally = Tally(1)
        for value in values:
            tally.add(b"a", value, "0")
        assert tally.wrong(expected) == 1
        assert tally.duplicated == 1


def test_a_record_that_nobody_put_in_is_wrong() -> None:
    tally = Tally(1)
    tally.add(b"stranger", b"1", "0")
    assert tally.wrong({b"a": b"1"}) == 1
    assert tally.lost({b"a": b"1"}) == 1


@given(st.dictionaries(KEYS, st.just(b"v")), st.lists(st.tuples(KEYS, st.sampled_from(["0", "1"]))))
def test_counts_agree_with_a_plain_count(expected: dict[bytes, bytes], out: list[tuple[bytes, str]]) -> None:
    tally = Tally(len(expected))
    for key, node in out:
        tally.add(key, b"v", node)
    seen = Counter(key for key, _ in out)
    assert tally.lost(expected) == len([key for key in expected if not seen[key]])
    assert tally.duplicated == sum(count - 1 for count in seen.values())
    assert tally.wrong(expected) == len([key for key in seen if key not in expected])
    assert tally.by_node == Counter(node for _, node in out)
