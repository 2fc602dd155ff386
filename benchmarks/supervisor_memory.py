"""Memory of forked nodes beside separate processes: total PSS, before and after every object has been read.

    python -m benchmarks.supervisor_memory [--records 150000] [--nodes 4]

PSS is read from /proc/<pid>/smaps_rollup, after a full gc.collect() in every node; the supervisor is counted in.
Shapes: records as dicts, a list of strings, and one block of bytes with offsets, decoded when read.
"""

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from swarm_health import NodeStatistics
from swarm_supervisor import Node, Supervisor, events


def load(shape: str, records: int) -> Any:
    """Make the data that nodes share."""
    if shape == "strings":
        return [f"flight {number} from here to there" for number in range(records * 12)]
    rows = (
        {"id": number, "name": f"flight number {number}", "tail": f"N{number:05d}", "delay": number * 0.5,
         "legs": [number, number + 1, number + 2], "carrier": {"code": f"C{number % 1000}", "rank": number % 7}}
        for number in range(records)
    )  # fmt: skip
    if shape == "dicts":
        return list(rows)
    offsets, blob = [0], bytearray()
    for row in rows:
        blob += json.dumps(row).encode()
        offsets.append(len(blob))
    from array import array

    return bytes(blob), array("Q", offsets)


def read_all(shape: str, data: Any) -> int:
    """Read every record."""
    if shape == "dicts":
        return sum(len(row["name"]) + len(row["legs"]) + row["carrier"]["rank"] for row in data)
    if shape == "strings":
        return sum(len(text) for text in data)
    blob, offsets = data
    return sum(json.loads(blob[offsets[at] : offsets[at + 1]])["id"] for at in range(len(offsets) - 1))


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process in MB of 2**20 bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no PSS of {pid}")


def forked(shape: str, records: int, nodes: int) -> tuple[float, float]:
    """Return total PSS of supervisor and nodes after gc.collect(), and after reading everything."""
    data = load(shape, records)
    totals: list[float] = []
    at_phase = {1: 0, 2: 0}

    def target(node: Node) -> int:
        gc.collect()
        node.healthy()
        node.report(NodeStatistics(batches=1))
        node.quieting.wait()
        read_all(shape, data)
        gc.collect()
        node.report(NodeStatistics(batches=2))
        node.stopping.wait()
        return 0

    supervisor = Supervisor(target, nodes=nodes, node_report_timeout=600.0)

    @supervisor.on(events.NodeReported)
    def reported(event: events.NodeReported) -> None:
        if event.statistics is None:
            return
        phase = event.statistics.batches
        at_phase[phase] += 1
        if at_phase[phase] == nodes:
            pids = [os.getpid(), *(node.pid or 0 for node in supervisor.snapshot().nodes)]
            totals.append(sum(pss_mb(pid) for pid in pids))
            if phase == 1:
                supervisor.quiet("read everything")
            else:
                supervisor.stop("measured")

    supervisor.run()
    return totals[0], totals[1]


def separate(shape: str, records: int, nodes: int) -> float:
    """Return total PSS of as many processes with the same imports that each load the data themselves."""
    command = [sys.executable, "-m", "benchmarks.supervisor_memory", "--alone", shape, "--records", str(records)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(nodes)
    ]  # each waits on its stdin until all have been measured
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        return sum(pss_mb(process.pid) for process in processes)
    finally:
        for process in processes:
            process.communicate(timeout=60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=150_000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--shape", choices=["dicts", "strings", "bytes"], action="append")
    parser.add_argument("--one", choices=["dicts", "strings", "bytes"], help=argparse.SUPPRESS)
    parser.add_argument("--alone", choices=["dicts", "strings", "bytes"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable()
    if options.alone:
        data = load(options.alone, options.records)
        gc.collect()
        print("loaded", len(data), flush=True)
        sys.stdin.read()
        return
    if options.one:
        print(json.dumps(forked(options.one, options.records, options.nodes)))
        return
    print(f"{options.nodes} nodes, {options.records} records, total PSS in MB (saving against separate processes)")
    for shape in options.shape or ("dicts", "strings", "bytes"):
        apart = separate(shape, options.records, options.nodes)
        # In a process of its own: what one shape has left on the heap is not the other's.
        command = [sys.executable, "-m", "benchmarks.supervisor_memory", "--one", shape]
        command += ["--records", str(options.records), "--nodes", str(options.nodes)]
        collected, read = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        less, least = (1 - collected / apart) * 100, (1 - read / apart) * 100
        print(
            f"{shape:8} separate {apart:7.1f}   forked, after gc.collect() {collected:7.1f} "
            f"({less:.0f} % less)   after reading all {read:7.1f} ({least:.0f} % less)"
        )


if __name__ == "__main__":
    main()
