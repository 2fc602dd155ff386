"""How errors and partitions are written in a line of text, and the last resort where no log takes one."""

from __future__ import annotations

import os


def describe(error: BaseException) -> str:
    """Return the error as one line: its type and its text. An error whose text cannot be read is described too."""
    try:
        text = " ".join(str(error).split())
    except BaseException as failure:  # noqa: BLE001  __str__ is the user's
        text = f"(its text cannot be read: __str__ raised {type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def format_partitions(partitions: tuple[tuple[str, int], ...]) -> str:
    """Return partitions by topic: ``flights[0,1,4]``."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        by_topic.setdefault(topic, []).append(partition)
    return ", ".join(f"{topic}[{','.join(map(str, numbers))}]" for topic, numbers in by_topic.items()) or "nothing"


def tell_broken_log(count: int, what: object, error: BaseException) -> None:
    """Report on standard error that logging failed: the first time, the tenth, the hundredth, and so on."""
    if count != 10 ** (len(str(count)) - 1):
        return
    try:
        text = f"swarm_consumer: a log handler or filter raised {describe(error)} ({count} times) for: {what}\n"
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except BaseException:  # noqa: BLE001  there is nowhere left to report it
        return
