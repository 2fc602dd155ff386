"""``hatch run chaos``: a swarm on real Kafka under a seeded schedule of faults; every record is accounted for.

Needs Java and Maven. Exit code 0: every promise was kept; 1: one was not, and the report says which; 2: it could not
be run.
"""

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

from benchmarks.chaos.report import passed, text, write
from benchmarks.chaos.run import Plan, Run
from benchmarks.chaos.schedule import KINDS
from swarm_consumer.testing import BrokerError, KafkaUnavailable


def main(arguments: list[str] | None = None) -> int:
    """Read the options, run, write the report."""
    parser = argparse.ArgumentParser(prog="hatch run chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults are made (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (1)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--rate", type=float, default=400.0, help="records per second (400)")
    parser.add_argument("--protocol", choices=("classic", "consumer"), default="classic", help="group.protocol")
    parser.add_argument("--static", action="store_true", help="static members with ids of the user's")
    parser.add_argument("--membership", choices=("auto", "static", "dynamic"), default="auto")
    parser.add_argument(
        "--memory", choices=("auto", "off", "file"), default="auto", help="file: one in /dev/shm, for --progress-memory"
    )
    parser.add_argument("--lies", action="store_true", help="what nodes recall is often not what was noted")
    parser.add_argument("--only", default="", metavar="KIND,...", help=f"kinds of faults; there are {', '.join(KINDS)}")
    parser.add_argument(
        "--with", dest="asked", default="", metavar="KIND,...", help="kinds that come only when they are asked for"
    )
    parser.add_argument("--kafka", action="append", default=[], metavar="NAME=VALUE", help="a property of the nodes")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="default: .cache/chaos/<seed>")
    options = parser.parse_args(arguments)
    only = frozenset(filter(None, options.only.split(",")))
    asked = frozenset(filter(None, options.asked.split(",")))
    if unknown := (only | asked) - KINDS.keys():
        parser.error(f"there is no kind {sorted(unknown)[0]!r}; there are {', '.join(KINDS)}")
    folder: Path = (options.report or Path(".cache") / "chaos" / str(options.seed)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for left in ("handled.log", "audit.log", "swarm.log"):
        (folder / left).unlink(missing_ok=True)
    plan = Plan(
        minutes=options.minutes, seed=options.seed, nodes=options.nodes, partitions=options.partitions,
        rate=options.rate, protocol=options.protocol, static=options.static, only=only, asked=asked,
        kafka=tuple(options.kafka), membership=options.membership, memory=options.memory, lies=options.lies,
    )  # fmt: skip
    plan = dataclasses.replace(plan, times=plan.waits())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # swarm and broker end with the run
    try:
        outcome = Run(plan, folder).carry_out()
    except KafkaUnavailable as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except (BrokerError, RuntimeError) as error:
        print(f"The run could not be made: {error}", file=sys.stderr)
        return 2
    print(text(outcome))
    print("\n".join(map(str, write(outcome, folder))))
    return 0 if passed(outcome) else 1


if __name__ == "__main__":
    sys.exit(main())
