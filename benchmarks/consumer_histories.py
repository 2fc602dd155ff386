"""Random histories of the consumer's runtime on a fake broker: no offset passes a record that nothing covers.

    python -m benchmarks.consumer_histories [--count 100000] [--seed 0] [--jobs 2] [--without FEATURE,...]
    python -m benchmarks.consumer_histories --show SEED

Needs no broker. Each history is decided by its seed: a failing one is told with its seed and its course, with as few
features as still break it. At the end, how often each kind of event came; one that never came is a failure too.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from functools import partial

from benchmarks.histories import kinds, seams
from benchmarks.histories.search import OPEN, Found, many, shrunk

CHUNK = 1000
MOST_TOLD = 3
LEAST_FOR_COVERAGE = 20_000
"""With fewer histories, rare kinds may be missing by chance."""


def _chunk(without: frozenset[str], start_and_count: tuple[int, int]) -> tuple[int, Counter[str], list[str]]:
    start, count = start_and_count
    counts, found = many(range(start, start + count), without, most=MOST_TOLD)
    return count, counts, [str(one) for one in found]


def search(count: int, seed: int, jobs: int, without: frozenset[str]) -> int:
    """Run `count` histories from `seed` on; return the exit code."""
    chunks = [(start, min(CHUNK, seed + count - start)) for start in range(seed, seed + count, CHUNK)]
    counts: Counter[str] = Counter()
    found: list[str] = []
    done, begun = 0, time.monotonic()
    # Strands of killed nodes are not always given back: a process that is made anew now and then keeps that small.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=50) as pool:
        for ran, happened, broke in pool.imap_unordered(partial(_chunk, without), chunks):
            done += ran
            counts.update(happened)
            found += broke
            rate = done / (time.monotonic() - begun)
            print(f"{done:,} of {count:,} histories, {rate:.0f} a second, {len(found)} broke", file=sys.stderr)
            if len(found) >= MOST_TOLD:
                pool.terminate()
                break
    print(kinds.report(counts))
    print(f"{done:,} histories in {time.monotonic() - begun:.0f} s, {len(found)} broke a promise")
    for story in found[:MOST_TOLD]:
        print(f"\n{story}")
    lacking = kinds.missing(counts) if count >= LEAST_FOR_COVERAGE else []
    lacking = [kind for kind in lacking if not kinds.left_out(kind, without)]
    if lacking:
        print(f"never came: {', '.join(lacking)}")
    return 1 if found or lacking else 0


def show(seed: int, without: frozenset[str]) -> Found:
    """Return the story of one seed that breaks something."""
    with seams.installed():
        return shrunk(seed, without)


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--without", default="", help="features to leave out, with commas between them")
    parser.add_argument("--show", type=int, metavar="SEED", help="tell the course of one seed that breaks something")
    options = parser.parse_args()
    without = OPEN | frozenset(options.without.split(",") if options.without else ())
    if options.show is not None:
        print(show(options.show, without))
        return 1
    return search(options.count, options.seed, options.jobs, without)


if __name__ == "__main__":
    sys.exit(main())
