"""A request: what its query says, and that every part of it is bounded."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_liveness._serving.request import MAX_CHARACTERS, MAX_PARAMETERS, BadRequestError, Query, Request, parse_query

NAMES = st.text(min_size=1, max_size=5)
VALUES = st.text(max_size=10)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=MAX_PARAMETERS), st.sampled_from([quote, quote_plus]))
def test_what_is_encoded_is_read_back(pairs: list[tuple[str, str]], encoded: object) -> None:
    text = "&".join(f"{encoded(name, safe='')}={encoded(value, safe='')}" for name, value in pairs)  # type: ignore[operator]
    assert parse_query(text.encode()) == tuple(pairs)


def one_short_line(error: BadRequestError) -> bool:
    text = str(error)
    return text.isascii() and text.isprintable() and len(text) < 1200


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused_in_one_line_of_ascii(text: bytes) -> None:
    query: Query = ()
    refused = None
    try:
        query = parse_query(text)
    except BadRequestError as error:
        refused = error
    assert refused is None or one_short_line(refused)
    assert len(query) <= MAX_PARAMETERS
    assert all(name and len(name) + len(value) <= MAX_CHARACTERS for name, value in query)


@given(st.text(max_size=300))
def test_any_value_is_a_number_or_refused_in_one_line_of_ascii(value: str) -> None:
    request = Request("/", (("at", value),))
    for read in (request.integer, request.number):
        number, refused = None, None
        try:
            number = read("at")
        except BadRequestError as error:
            refused = error
        assert one_short_line(refused) if refused else number is not None


def test_bounds_are_sharp() -> None:
    assert len(parse_query(b"&".join([b"a=1"] * MAX_PARAMETERS))) == MAX_PARAMETERS
    with pytest.raises(BadRequestError, match="17 parameters"):
        parse_query(b"&".join([b"a=1"] * (MAX_PARAMETERS + 1)))
    longest = b"a=" + b"x" * (MAX_CHARACTERS - 2)
    assert parse_query(longest) == (("a", "x" * (MAX_CHARACTERS - 2)),)
    with pytest.raises(BadRequestError, match="257 characters"):
        parse_query(longest + b"x")


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [("0", 0, 0.0), ("-7", -7, -7.0), ("007", 7, 7.0), ("1.25", None, 1.25)],
)
def test_numbers(value: str, integer: int | None, number: float) -> None:
    request = Request("/", (("at", value),))
    assert request.number("at") == number
    if integer is not None:
        assert request.integer("at") == integer
    else:
        with pytest.raises(BadRequestError, match=r"at is '1\.25'"):
            request.integer("at")


@pytest.mark.parametrize("value", ["", " 1", "1 ", "1_0", "+1", "1e3", "nan", "inf", "0x10", "\u0661", ".5", "5."])
def test_other_ways_to_write_a_number_are_refused(value: str) -> None:
    request = Request("/", (("at", value),))
    for read in (request.integer, request.number):
        with pytest.raises(BadRequestError, match="at is "):
            read("at")


def test_what_is_not_asked_for_is_none() -> None:
    request = Request("/", (("a", "1"), ("flag", "")))
    assert (request.value("b"), request.integer("b"), request.number("b")) == (None, None, None)
    assert request.value("flag") == ""


def test_only_the_parameters_that_count_make_requests_differ() -> None:
    one = Request("/", (("a", "1"), ("cache", "x"))).only(("a",))
    other = Request("/", (("cache", "y"), ("a", "1"))).only(("a",))
    assert one == other
    assert hash(one) == hash(other)
