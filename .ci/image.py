"""Carry out the steps of deploy/Dockerfile without Docker: each stage in an empty folder, then ask its command.

Docker needs a daemon, which a build machine may not have. A stage is a folder that takes the place of "/": COPY takes
what deploy/Dockerfile.dockerignore lets through, RUN runs with every absolute path of the image below that folder.
Steps that change the machine itself (apt-get, useradd) are named and left out. What this proves: the context holds
all that the build needs, the packages install together, and the command of the image loads its application.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORE = ROOT / "deploy" / "Dockerfile.dockerignore"
IMAGE_FOLDERS = ("/opt", "/app", "/src")
"""Where the image keeps what is its own; every other absolute path belongs to the machine."""
ON_THE_MACHINE = ("apt-get", "useradd", "rm -rf /var")
TIMEOUT_S = 600.0


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield (instruction, rest) for each line, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), re.sub(r"\s+", " ", rest).strip()


def context(folder: Path) -> None:
    """Fill a folder with what a build gets to see: files that git tracks and the ignore file lets through."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = [line for line in IGNORE.read_text().splitlines() if line and not line.startswith("#")]
    allowed = tuple(rule[1:].rstrip("/") for rule in rules if rule.startswith("!"))
    if "*" not in rules:
        raise SystemExit(f"{IGNORE.name} must leave out everything (*) and let folders through (!folder)")
    for name in filter(None, tracked.split("\0")):
        if name.startswith(tuple(f"{one}/" for one in allowed)) and os.path.lexists(ROOT / name):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)


class Stage:
    """One FROM: a folder in the place of "/", where we stand in it, and its environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cwd = root
        self.env = {"HOME": str(root), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        self.env |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

    def inside(self, text: str) -> str:
        """Put every absolute path of the image below the folder."""
        return re.sub(rf"(?<![\w/.])({'|'.join(IMAGE_FOLDERS)})(?=[/:\s\"]|$)", rf"{self.root}\1", text)

    def run(self, command: str) -> None:
        """Carry out RUN: its commands one by one, without those that change the machine."""
        for one in command.split("&&"):
            if one.strip().startswith(ON_THE_MACHINE):
                print(f"  left out: {one.strip()}")
                continue
            print(f"  run: {one.strip()}", flush=True)
            self.check(["sh", "-c", self.inside(one.strip())])

    def check(self, command: list[str]) -> str:
        """Run a command in the stage; its output, or the end of this script with it."""
        done = subprocess.run(
            command, cwd=self.cwd, env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout


def build(files: Path, place: Path) -> Stage:
    """Carry out every instruction; returns the last stage. All stages stand at one path in turn.

    Scripts of a virtual environment name its path, so what COPY --from takes must stand where it was made.
    """
    finished: dict[str, Path] = {}
    stage: Stage | None = None
    name = ""
    for instruction, rest in instructions(DOCKERFILE.read_text()):
        if instruction == "FROM":
            if stage is not None:
                finished[name] = place.with_name(f"finished-{len(finished)}")
                place.rename(finished[name])
            name = rest.split(" AS ")[1] if " AS " in rest else ""
            place.mkdir()
            stage = Stage(place)
            print(f"stage {name or 'of the image'}")
            continue
        assert stage is not None, "a Dockerfile begins with FROM"
        match instruction:
            case "WORKDIR":
                stage.cwd = Path(stage.inside(rest))
                stage.cwd.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *options, source, target = rest.split()
                origin = finished[options[0].removeprefix("--from=")] / source[1:] if options else files / source
                print(f"  copy: {rest}")
                shutil.copytree(origin, stage.cwd / stage.inside(target), symlinks=True, dirs_exist_ok=True)
            case "ENV":
                for pair in re.findall(r"(\w+)=(\S+)", rest):
                    stage.env[pair[0]] = stage.inside(pair[1]).replace("$PATH", stage.env["PATH"])
            case "RUN":
                stage.run(rest)
            case "CMD":
                command, application = json.loads(rest)
                assert command == "swarm", rest
                routes = stage.check(["swarm-cli", "routes", application])
                print(f"  {application} has {len(routes.splitlines())} lines of routes")
                stage.check(["swarm-cli", "demo", "--help"])
                stage.check(["python", "-c", "import swarm_cli._flights.app"])
            case "USER" | "EXPOSE" | "STOPSIGNAL" | "ENTRYPOINT":
                pass
            case _:
                raise SystemExit(f"{instruction}: this script does not know the instruction; teach it")
    assert stage is not None, "a Dockerfile has at least one stage"
    return stage


def main() -> int:
    """Build in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "context"
        context(files)
        build(files, Path(folder) / "root")
    print("every step of the image works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
