"""Install each wheel alone into an empty virtual environment and import it. Usage: wheels.py [folder] (default: dist).

An environment gets the wheel, the wheels of this project that it declares (also through others), and from the
registry only what these declare. Then: every public name resolves, `py.typed` is there, and nothing undeclared was
needed. swarm-pidfd must bring no other distribution at all.
"""

import email
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHECK = """
import importlib, importlib.metadata, pathlib, sys
name = sys.argv[1]
module = importlib.import_module(name)
missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
assert not missing, f"{name}: __all__ names {missing}, which are not there"
assert (pathlib.Path(module.__file__).parent / "py.typed").exists(), f"{name}: no py.typed"
assert importlib.metadata.version(name.replace("_", "-")) == module.__version__, f"{name}: two versions"
print(",".join(sorted(d.metadata["Name"].lower() for d in importlib.metadata.distributions())))
"""


def requirements(wheel: Path) -> list[str]:
    """Names of the distributions that a wheel needs, extras left out."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    needed = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    return [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0].lower() for text in needed]


def closure(name: str, wheels: dict[str, Path]) -> list[Path]:
    """The wheel of `name` and those of this project that it needs."""
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in wheels and current not in found:
            found[current] = wheels[current]
            waiting += requirements(wheels[current])
    return list(found.values())


def main() -> int:
    """Check every wheel; 1 at the first that does not stand alone."""
    dist = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()
    wheels = {path.name.split("-")[0].replace("_", "-"): path for path in sorted(dist.glob("*.whl"))}
    if len(wheels) != 6:
        print(f"expected 6 wheels in {dist}, found {len(wheels)}: run the build first")
        return 1
    for name in wheels:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
            python = f"{folder}/bin/python"
            install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
            install += ["--disable-pip-version-check", *map(str, closure(name, wheels))]
            subprocess.run(install, check=True, cwd=folder)
            command = [python, "-I", "-c", CHECK, name.replace("-", "_")]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
            if done.returncode != 0:
                print(f"{name}: its wheel does not import alone\n{done.stdout}{done.stderr}")
                return 1
            installed = done.stdout.strip().split(",")
            if name == "swarm-pidfd" and installed != ["swarm-pidfd"]:
                print(f"swarm-pidfd must come alone, but brought {installed}")
                return 1
            print(f"{name}: imports alone, with {len(installed) - 1} other distribution(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
