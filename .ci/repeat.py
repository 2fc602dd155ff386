"""Find tests that fail by chance: run the whole suite several times, alone and beside busy processes.

Usage: repeat.py [--times 3] [--busy 2] [-- pytest arguments]. First --times runs with nothing beside them, then as many
beside --busy processes that compute all the while. Prints every failure with how often it came. Exit code 1 if any did.
Not part of the gate: with the defaults it takes six times as long as the suite.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN_TIMEOUT_S = 3600.0
BUSY = "while True: sum(range(10_000))"


def run_once(arguments: list[str], log: Path) -> list[str]:
    """Run the suite; the tests that failed, or the exit code where pytest itself did not get that far."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", "-r", "fE", *arguments]
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=RUN_TIMEOUT_S, check=False)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", log.read_text(), re.MULTILINE)
    return failed if failed or done.returncode == 0 else [f"pytest ended with {done.returncode}, see {log}"]


def main() -> int:
    """Run all; 1 if anything failed in any of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=3, help="runs alone, and as many beside busy processes (3)")
    parser.add_argument("--busy", type=int, default=2, help="busy processes in the second half (2)")
    parser.add_argument("--logs", type=Path, default=ROOT / ".cache" / "repeat", help="default: .cache/repeat")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    counted: Counter[str] = Counter()
    for number in range(2 * options.times):
        busy = options.busy if number >= options.times else 0
        workers = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
        began = time.monotonic()
        try:
            failed = run_once(options.pytest, options.logs / f"run-{number + 1}.log")
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        counted.update(failed)
        print(f"run {number + 1}, {busy} busy: {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    for name, times in counted.most_common():
        print(f"{times:>3} of {2 * options.times}  {name}")
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
