"""What a history may have in it, and the app that follows from it."""

from typing import Any

from benchmarks.histories.fake_producer import LETTERS
from benchmarks.histories.hooks import HOOKS, handler
from swarm_consumer import App, DeadLetters

FEATURES = (
    *("coroutine", "awaitable", "generator", "raise", "exit", "untellable", "produce", "delivery_failure"),
    *("catch_delivery", "mark", "mark_metadata", "mark_blocking", "mark_wrong", "manual", "bulk", "thread_mark"),
    *("leave", "seek", "seek_beyond", "pause", "transactions", "per_message", "transaction_marks"),
    *("transaction_failure", "letters", "letters_dropped", "letters_limited", "letters_independent"),
    *("constructor_raises", "initialized_raises", "hook_raises", "revoke", "lose", "peer", "truncate", "expire"),
    *("outage", "commit_failure", "latest", "error", "crash", "quiet", "small", "slow"),
    *(f"hook_{name}" for name in sorted(HOOKS)),
)
"""Each history has some of them; what it does not have does not happen in it.
`holes` and `memory` are not drawn with them.
"""


def app_of(history: Any, topics: list[str]) -> App:
    """Return the app of a history, with settings by its features."""
    rng = history.rng
    letters = None
    if history.has("letters"):
        letters = DeadLetters(
            topic=None if history.has("letters_dropped") else LETTERS,
            max_retries=int(rng.random() * 3),
            independent=history.has("letters_independent"),
            max_consecutive=1 + int(rng.random() * 3) if history.has("letters_limited") else None,
        )
    most = 1 + int(rng.random() * 6)
    app = App(
        "histories",
        kafka={"bootstrap.servers": "nowhere", "auto.commit.interval.ms": 50 + int(rng.random() * 300)},
        producer={"transactional.id": "histories"} if history.transactional else None,
        concurrency=1 + int(rng.random() * 2.5),
        revocation_timeout=0.2 + rng.random(),
        initial_offset="error" if history.has("error") else "latest" if history.has("latest") else "earliest",
        max_messages=most,
        max_held_messages=most + int(rng.random() * 4) if history.has("small") else None,
        retry_backoff=0.05,
        retry_backoff_max=0.2,
        tick_interval=0.3,
        manual_marking=history.manual,
        dead_letters=letters,
    )
    history.broker.slow = rng.random() * 0.5 if history.has("slow") else 0.0
    app.bus = type(app.bus)()
    app.subscribe(history.event)
    hooks = frozenset(name for name in HOOKS if history.has(f"hook_{name}"))
    app.topic(*topics)(handler(hooks))
    return app
