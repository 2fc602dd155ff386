"""What kept progress costs: each write, a batch, the notes of 100 partitions at an assignment, and the memory.

Times are CPU times, because other processes of the machine would only blur what is measured here.

python benchmarks/progress_memory.py
"""

import os
import re
import statistics
import time
import timeit
import tracemalloc
from pathlib import Path

from swarm_consumer.progress import Epitaph, Member, ProgressMemory, Suspects, Verdict

NODES = 8
BATCH = 100
PARTITIONS = 1000
ASSIGNED = 100
SCOPE = "broker:9092/group"


def microseconds(function, number=20_000):
    """Return the median and the best time of a call, of nine rounds."""
    times = [each / number * 1e6 for each in timeit.repeat(function, number=number, repeat=9, timer=time.process_time)]
    return statistics.median(times), min(times)


def writes():
    """Measure what a place writes, one after another."""
    place = ProgressMemory(1).of_life(0, 1).claim(SCOPE, ("flights", 0))

    def batch():
        place.begin(100, 199, 1, alone=False)
        place.end(handled=True)
        place.move(200, 3)

    for name, function in (
        ("begin", lambda: place.begin(100, 199, 1, alone=False)),
        ("end", lambda: place.end(handled=False)),
        ("move", lambda: place.move(200, 3)),
        ("committed", lambda: place.committed(200)),
        ("suspect", lambda: place.suspect(Suspects(1, 2))),
        ("a batch: begin, end, move", batch),
    ):
        median, best = microseconds(function)
        print(f"{name:28} {median:8.2f} us, best {best:.2f} us")
    print(f"{'the same, of each message':28} {median / BATCH:8.4f} us at batches of {BATCH}")


def assignment():
    """Measure an assignment, where each of the nodes has had every partition before."""
    memory = ProgressMemory(NODES)
    keys = [("flights", partition) for partition in range(PARTITIONS)]
    lives = [memory.of_life(node_id, 1) for node_id in range(NODES)]
    for life in lives:
        for key in keys:
            life.claim(SCOPE, key)
    times = []
    for _ in range(15):
        began = time.process_time()
        found = lives[0].recall(SCOPE, keys[:ASSIGNED])
        recalled = time.process_time()
        for key in keys[:ASSIGNED]:
            lives[0].claim(SCOPE, key)
        times.append(((time.process_time() - began) * 1e3, (recalled - began) * 1e3))
        assert len(found) == ASSIGNED
    total, recall = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"recall and claim of {ASSIGNED} partitions, {NODES} nodes with {PARTITIONS} notes each: "
        f"{total:.2f} ms (recall {recall:.2f}), best {min(times)[0]:.2f} ms"
    )
    began = time.process_time()
    memory.of_life(0, 2)
    memory.of_life(0, 3)
    print(f"taking over a life page with {PARTITIONS} notes: {(time.process_time() - began) * 1e3:.2f} ms")


def resident(pid="self"):
    """Return PSS, in KiB, of the shared mapping in a process."""
    shared, of_mapping = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-", line):
            of_mapping = "/dev/zero" in line
        elif line.startswith("Pss:") and of_mapping:
            shared += int(line.split()[1])
    return shared


def node(memory, node_id, generation, ready, go):
    """Be a node with its part of the partitions; print nothing, and wait."""
    tracemalloc.start()
    life = memory.of_life(node_id, generation)
    life.joined(Member("group", f"rdkafka-{node_id}", f"host_{node_id}"))
    keys = [("flights", partition) for partition in range(node_id, PARTITIONS, NODES)]
    life.recall(SCOPE, keys)
    places = [life.claim(SCOPE, key) for key in keys]
    for place in places:
        place.begin(0, 99, 1, alone=False)
        place.end(handled=True)
        place.move(100, 1)
    os.write(ready, b"%8d" % (tracemalloc.get_traced_memory()[0] // 1024))
    os.read(go, 1)
    os._exit(0)


def touched():
    """Measure the memory of nodes with all partitions together, before and after each was restarted."""
    memory = ProgressMemory(NODES)
    for generation in (1, 2):
        ready, ready_end = os.pipe()
        go_end, go = os.pipe()
        pids = []
        for node_id in range(NODES):
            pid = os.fork()
            if pid == 0:
                os.close(go)
                try:
                    node(memory, node_id, generation, ready_end, go_end)
                finally:
                    os._exit(1)
            pids.append(pid)
        os.close(ready_end)
        own = [int(os.read(ready, 8)) for _ in pids]
        mapped = sum(resident(pid) for pid in [*pids, os.getpid()])
        os.close(go)
        for node_id, pid in enumerate(pids):
            os.waitpid(pid, 0)
            memory.epitaph(node_id, generation, Epitaph(Verdict.COUNTS, "killed by SIGKILL", "x" * 2000))
        when = "first lives" if generation == 1 else "each restarted once"
        print(
            f"PSS of the mapping, {NODES} nodes, {PARTITIONS} partitions in all, {when}: {mapped} KiB; "
            f"Python objects for the places: {statistics.median(own):.0f} KiB a node"
        )


def main():
    """Measure and print."""
    touched()
    writes()
    assignment()


if __name__ == "__main__":
    main()
