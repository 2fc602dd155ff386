"""The README: its example, a runtime of one's own, runs and says what it says there."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import swarm_liveness
from swarm_liveness._judging.ages import PHASES

README = (Path(__file__).parents[2] / "packages" / "liveness" / "README.md").read_text()
EXAMPLE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]


def test_the_example_prints_what_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", EXAMPLE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"print\(.*\)\n# (.*)", EXAMPLE)

    def without_age(text: str) -> str:
        return re.sub(r"3\d\.\d s", "31.0 s", text.strip())

    assert without_age(done.stdout) == said


def test_every_limit_and_phase_is_named() -> None:
    for name in inspect.signature(swarm_liveness.LivenessListener).parameters:
        if name.endswith("_ttl") or (name.startswith("memory_") and name not in ("memory_metric", "memory_refresh")):
            assert f"`{name}" in README, name
    assert ", ".join(PHASES) in README
    for name in swarm_liveness.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(swarm_liveness, name)), name
