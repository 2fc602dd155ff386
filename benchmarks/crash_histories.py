"""Random histories of crashes: no owner passes a record that no handler was given, and only what was in hand repeats.

    python -m benchmarks.crash_histories [--count 5000000] [--start 0] [--jobs 2]
    python -m benchmarks.crash_histories --show SEED

Needs no broker. The ledger, the partitions, the commit turns, the decision and the memory are the real ones; broker,
administrator, consumers elsewhere and handlers are drawn. Each history is decided by its seed.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter

from benchmarks.crashes import mapped
from benchmarks.crashes.search import EXPECTED, course, many

CHUNK = 5000
MOST_TOLD = 3
LEAST_FOR_COVERAGE = 50_000
"""With fewer histories, a rare kind may be missing by chance."""


def _chunk(start_and_count: tuple[int, int]) -> tuple[int, Counter[str], list[str]]:
    start, count = start_and_count
    counts, found = many(range(start, start + count), most=MOST_TOLD)
    return count, counts, found


def search(count: int, start: int, jobs: int) -> int:
    """Run `count` histories from the seed `start` on; return the exit code."""
    chunks = [(first, min(CHUNK, start + count - first)) for first in range(start, start + count, CHUNK)]
    counts: Counter[str] = Counter()
    found: list[str] = []
    done, told, begun = 0, 0.0, time.monotonic()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for ran, happened, broke in pool.imap_unordered(_chunk, chunks):
            done += ran
            counts.update(happened)
            found += broke
            now = time.monotonic()
            if now - told > 10.0 or done == count:
                told = now
                rate = done / (now - begun)
                print(f"{done:,} of {count:,} histories, {rate:.0f} a second, {len(found)} broke", file=sys.stderr)
            if len(found) >= MOST_TOLD:
                pool.terminate()
                break
    for kind, times in counts.most_common():
        print(f"{times:>12,}  {kind}")
    print(f"{done:,} histories in {time.monotonic() - begun:.0f} s, {len(found)} broke a promise")
    for story in found[:MOST_TOLD]:
        print(f"\n{story}")
    lacking = [kind for kind in EXPECTED if not counts[kind]] if count >= LEAST_FOR_COVERAGE else []
    if lacking:
        print(f"never came: {', '.join(lacking)}")
    return 1 if found or lacking else 0


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", type=int, metavar="SEED", help="tell the course of one seed")
    options = parser.parse_args()
    if options.show is not None:
        with mapped.clocked():
            print(course(options.show))
        return 0
    return search(options.count, options.start, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
