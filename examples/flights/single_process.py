"""The same work in one process and without Kafka: what the output of a swarm is compared with, record by record.

python -m examples.flights.single_process
"""

import hashlib
import sys
import time
from collections.abc import Callable

from . import reference
from .enrich import enrich
from .records import decode_flight, encode
from .source import flights


def single_pass(
    tables: reference.Reference | None = None, on_progress: Callable[[int], None] | None = None
) -> dict[str, bytes]:
    """Enrich every flight of the record; return the encoded result by key, in the order of the record.

    Each flight is encoded and decoded first, as on its way through Kafka. on_progress gets the count so far.
    """
    tables = reference.load() if tables is None else tables
    results: dict[str, bytes] = {}
    for key, flight in flights():
        results[key] = encode(enrich(decode_flight(encode(flight)), tables))
        if on_progress is not None:
            on_progress(len(results))
    return results


def digest(results: dict[str, bytes]) -> str:
    """Return the SHA-256 over all keys and values in the order of the keys: equal for equal results."""
    sha = hashlib.sha256()
    for key in sorted(results):
        sha.update(b"%d %s %d %s" % (len(key), key.encode(), len(results[key]), results[key]))
    return sha.hexdigest()


def main() -> int:
    """Print how many flights were enriched, at what cost, and the digest of the result."""
    started, cpu = time.monotonic(), time.process_time()
    results = single_pass()
    elapsed_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    size = sum(len(value) for value in results.values())
    print(
        f"{len(results):,} flights in {elapsed_s:.2f} s ({cpu_s:.2f} s CPU, {1e6 * cpu_s / len(results):.0f} µs each), "
        f"{size:,} bytes, SHA-256 {digest(results)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
