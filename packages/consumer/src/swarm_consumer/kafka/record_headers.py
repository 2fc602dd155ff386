"""The headers of a record, even with invalid contents."""

from __future__ import annotations

import gc
import operator

import confluent_kafka

UNREADABLE_NAME = "\ufffd"
"""Replaces a header name that is not UTF-8."""


# Not record.headers(): CPython 3.11 and later specialise a hot call, and a specialised call of a C method no
# longer checks for an error set along with a result, which would then be raised by some later call.
_read = operator.methodcaller("headers")


def headers_of(record: confluent_kafka.Message) -> list[tuple[str, bytes | None]]:
    """Return the headers as (name, bytes) pairs; an empty list when there are none.

    The client cannot decode a name that is not UTF-8, which a producer in C can write: the first call then raises
    SystemError, and every later one returns a pair with a null pointer as its name, which crashes the process
    on access (confluent-kafka 2.16, `c_headers_to_py`). One such record would kill node after node. So each
    pair is only asked for the number of its objects, and the record gets readable headers.
    """
    try:
        found = _read(record)
    except SystemError:
        found = _read(record)
    if not found:
        return []
    pairs: list[tuple[str, bytes | None]] = list(found)
    if all(len(held) == 2 for held in map(gc.get_referents, pairs)):
        return pairs
    pairs = [pair if len(held := gc.get_referents(pair)) == 2 else (UNREADABLE_NAME, *held) for pair in pairs]
    record.set_headers(pairs)  # type: ignore[arg-type]
    return pairs
