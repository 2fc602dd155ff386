"""Fuzz everything that reads bytes from outside. Usage: fuzz.py [--seconds S] [--found FOLDER] [target ...].

Each target is a file of tests/fuzz (or of a package's tests) with ``check(data)``, which raises when a promise is
broken, and PACKAGES, whose branches guide the search. libFuzzer looks for inputs that reach new branches (atheris,
where it has a wheel); elsewhere known inputs are mutated blindly for the same time, and the line says so. Seeds are in
the tree; what is new goes to --found, and an input that broke something is shown: keep it in the corpus, with the fix.
"""

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "tests" / "fuzz"
# target: (the file with its check, the folder of its seeds)
TARGETS = {"health_pipe": (ROOT / "tests/health/fuzz/fuzz_check.py", ROOT / "tests/health/fuzz/corpus")} | {
    path.stem: (path, FUZZ / "corpus" / path.stem)
    for path in sorted(FUZZ.glob("*.py"))
    if not path.name.startswith(("test_", "conftest"))
}
MAX_INPUT_BYTES = 4096
HANGS_AFTER_S = 20
MOST_MB = 1024


def loaded(path: Path) -> object:
    """The module of a target."""
    sys.path.insert(0, str(ROOT))
    specification = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    return module


def packages_of(path: Path) -> list[str]:
    """What a target wants to be instrumented, read before it is imported."""
    found = re.search(r"^PACKAGES = (\[.*?\])$", path.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{path} says no PACKAGES"
    return re.findall(r'"([^"]+)"', found[1])


def run_guided(path: Path, arguments: list[str]) -> None:
    """In a process of its own: libFuzzer, which does not return."""
    import atheris

    with atheris.instrument_imports(include=packages_of(path)):
        module = loaded(path)
    atheris.Setup([str(path), *arguments], module.check)  # type: ignore[attr-defined]
    atheris.Fuzz()


def run_blind(path: Path, seeds: Path, seconds: float) -> None:
    """In a process of its own: known inputs, mutated."""
    check: Callable[[bytes], None] = loaded(path).check  # type: ignore[attr-defined]
    known = [file.read_bytes() for file in sorted(seeds.iterdir())] or [b""]
    chance = random.Random()
    end, runs = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(chance, known)
        try:
            check(data)
        except BaseException:
            print(f"broken by {data!r}", flush=True)
            raise
        runs += 1
    print(f"stat::number_of_executed_units: {runs}")


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """An input made of one or two known ones."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        match chance.randrange(4):
            case 0 if data:
                data[at % len(data)] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 16)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case _:
                other = chance.choice(known)
                data[at:] = other[chance.randint(0, len(other)) :]
    return bytes(data[:MAX_INPUT_BYTES])


def fuzz(name: str, seconds: float, found: Path, guided: bool) -> bool:
    """Run one target; print what it did. False if it found something."""
    found.mkdir(parents=True, exist_ok=True)
    path, seeds = TARGETS[name]
    arguments = [sys.executable, __file__, "--one", name, "--seconds", f"{seconds:g}"]
    if guided:
        arguments += ["--", f"-max_total_time={seconds:g}", f"-timeout={HANGS_AFTER_S}", f"-rss_limit_mb={MOST_MB}"]
        arguments += [f"-max_len={MAX_INPUT_BYTES}", "-print_final_stats=1", f"-artifact_prefix={found}/broken-"]
        arguments += [str(found), str(seeds)]
    done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", output)
    reached = f", {coverage[-1][0]} branches" if coverage else ""
    how = "guided by coverage" if guided else "blind: atheris is not here"
    new = sum(1 for file in found.iterdir() if not file.name.startswith("broken-"))
    print(f"{name:20} {runs[1] if runs else '?':>9} inputs in {seconds:g} s ({how}){reached}, {new} new", flush=True)
    if done.returncode != 0:
        print(f"{name} found something (exit code {done.returncode}; {path.relative_to(ROOT)}):\n{output[-6000:]}")
    return done.returncode == 0


def main() -> int:
    """Run the targets one after the other; 1 if one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--found", type=Path, help="folder for new inputs (default: a temporary one)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", help=f"of: {', '.join(TARGETS)}")
    options = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    if options.one:
        path, seeds = TARGETS[options.one]
        if guided:
            run_guided(path, options.targets)
        else:
            run_blind(path, seeds, options.seconds)
        return 0
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(unknown)}: there are {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        found = options.found or Path(temporary)
        names = options.targets or list(TARGETS)
        broken = [name for name in names if not fuzz(name, options.seconds, found / name, guided)]
        return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
