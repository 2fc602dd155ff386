"""The headers of a record, whatever its producer has written into them."""

from __future__ import annotations

import gc
import operator

import confluent_kafka

UNREADABLE_NAME = "\ufffd"
"""Stands for a header name that is no UTF-8."""


# Not record.headers(): CPython 3.11 and later specialise a call that is hot, and a specialised call of a C method no
# longer checks for an error that was set beside a result: it would then come up at some later call, anywhere.
_read = operator.methodcaller("headers")


def headers_of(record: confluent_kafka.Message) -> list[tuple[str, bytes | None]]:
    """Return the headers as (name, bytes) pairs; an empty list when there are none.

    The client makes no text of a name that is no UTF-8, which a producer in C can write: the first call then raises
    SystemError, and every later one returns a pair with nothing at all in the place of its name, which ends the process
    when it is looked at (confluent-kafka 2.16, `c_headers_to_py`). One such record would kill node after node. So each
    pair is asked how many objects it holds, without looking at them, and the record gets headers that can be read.
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
