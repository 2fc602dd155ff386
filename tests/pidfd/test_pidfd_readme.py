"""The README: its example runs and prints what it says, and its table of facts names every capability."""

import dataclasses
import inspect
import pathlib
import re
import subprocess
import sys

import swarm_pidfd

README = (pathlib.Path(__file__).parents[2] / "packages" / "pidfd" / "README.md").read_text()


def test_the_example_prints_what_it_says():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # It leaves the child to the handle: Popen would warn that nobody has asked it for the exit code.
    run = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", example], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == re.search(r"print\(.*#\s*(.*)", example)[1]


def test_every_method_is_in_the_readme():
    for name, member in inspect.getmembers(swarm_pidfd.Pidfd):
        if not name.startswith("_") and name not in ("pid", "closed"):
            assert f".{name}" in README, name
            assert inspect.getdoc(member)


def test_every_capability_has_a_row_of_facts():
    rows = re.findall(r"^\| [^|]+ \| [56]\.\d+ \|", README, re.MULTILINE)
    assert len(rows) == len(dataclasses.fields(swarm_pidfd.Capabilities))


def test_every_public_name_is_documented():
    for name in swarm_pidfd.__all__:
        assert hasattr(swarm_pidfd, name)
        assert name == "__version__" or inspect.getdoc(getattr(swarm_pidfd, name))
