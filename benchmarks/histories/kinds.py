"""What must have happened in enough histories: a kind of event that never came is a fault of the test itself."""

from collections import Counter
from collections.abc import Collection

EXPECTED = (
    *("handed", "handled", "marks", "marks wrongly", "mark refused", "marks from a thread", "leaves early", "produces"),
    *("raises", "exits", "pauses", "seeks", "client.seek", "crash", "stop", "calm", "constructor raises"),
    *("returns a coroutine", "returns a awaitable", "returns a generator", "returns a async generator"),
    *("client.assign", "client.revoke", "client.lose", "client.pause", "client.resume", "begin", "reset"),
    *("no offset, by policy", "commit", "commit failed", "commit retried", "commit refused"),
    *("delivery failed", "local queue full"),
    *("not queued", "deals with a failed delivery", "letter", "event DeadLettered", "event DeadLetterLimitReached"),
    *("transaction committed", "transaction aborted", "commit_transaction failed", "wrap raises"),
    *(f"hook {name}" for name in ("initialized", "tick", "eofed", "revoked", "shutdown")),
    *(f"world {name}" for name in ("revoke", "lose", "truncate", "expire", "outage", "quiet")),
    *("event RevocationOverrun", "event DrainOverrun", "event Sought", "event Lost", "event BatchFailed"),
    *("event Committed", "exit code 0", "exit code 1", "exit code 4", "peer", "passes a hole"),
    *("event TakenOver", "event TakeOverRefused"),
)


def missing(counts: Counter[str]) -> list[str]:
    """Return the kinds that never came."""
    return [kind for kind in EXPECTED if not counts[kind]]


def report(counts: Counter[str]) -> str:
    """Return how often each kind came, as text."""
    return "\n".join(f"{count:>12,}  {kind}" for kind, count in sorted(counts.items(), key=lambda one: -one[1]))


_OF = {
    "transactions": ("transaction committed", "transaction aborted", "commit_transaction failed"),
    "thread_mark": ("marks from a thread",),
    "small": ("client.resume",),
    "holes": ("passes a hole",),
    "memory": ("event TakenOver", "event TakeOverRefused"),
    "crash": ("event TakenOver",),
    "error": ("no offset, by policy",),
}


def left_out(kind: str, without: Collection[str]) -> bool:
    """Whether this kind cannot come without these features."""
    return any(kind in _OF.get(feature, ()) for feature in without)
