"""Turn a dump of faulthandler into text with a bounded length that keeps the important parts. Pure.

faulthandler writes the newest thread first and stops after 100 threads: the main thread, which is the one being
judged, comes last or not at all. So it is also dumped alone, by `node.MAIN_STACK_SIGNAL`, before the others or
after them.
"""

from __future__ import annotations

import re

MOST_BYTES = 256 * 1024
_HALF = MOST_BYTES // 2
_ALONE = re.compile(r"^Stack \(most recent call first\):\n(?:  .*\n?)*\n?", re.MULTILINE)
_MAIN = "Thread 0x0 [main] (most recent call first):\n"


def stack_text(head: bytes, tail: bytes, size: int) -> str:
    """Return the text of a dump of ``size`` bytes, given its first and its last `half` bytes."""
    if len(head) + len(tail) >= size:
        text = (head + tail[len(head) + len(tail) - size :]).decode("utf-8", "replace")
    else:
        left_out = size - len(head) - len(tail)
        middle = f"\n... [{left_out} of {size} bytes are left out here]\n"
        text = head.decode("utf-8", "replace") + middle + tail.decode("utf-8", "replace")
    return _main_first(_without_supervisor(text), whole=len(head) + len(tail) >= size)


def half(size: int) -> int:
    """How much of each end of a dump is kept."""
    return min(size, _HALF)


def _main_first(text: str, *, whole: bool) -> str:
    """Put the separate dump of the main thread first if the others lack it; otherwise leave it out."""
    alone = _ALONE.search(text)
    if alone is None:
        return text
    others = text[: alone.start()] + text[alone.end() :]
    frames = alone.group().partition("\n")[2].rstrip("\n")
    # A line of dots stands for the threads after the hundredth.
    if (others.strip() and whole and not re.search(r"^\.\.\.$", others, re.MULTILINE)) or frames in others:
        return others
    return f"{_MAIN}{frames}\n\n{others}" if others.strip() else f"{_MAIN}{frames}\n"


def _without_supervisor(stacks: str) -> str:
    """Leave out the supervisor's frames below a target, from which its node was forked."""
    lines, below = [], False
    for line in stacks.splitlines():
        below = below and line.startswith("  File ")
        below = below or line.endswith(" in run_node")
        if not below:
            lines.append(line)
    return "\n".join(lines) + "\n"
