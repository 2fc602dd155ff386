"""The README: its example runs and prints what it says, and it names what is public."""

import inspect
import pathlib
import re
import subprocess
import sys

import swarm_health

README = (pathlib.Path(__file__).parents[2] / "packages" / "health" / "README.md").read_text()


def test_the_example_prints_what_it_says():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == re.search(r"print\(.*#\s*(.*)", example)[1]


def test_every_report_and_every_field_of_a_reading_is_in_the_readme():
    for name, _ in inspect.getmembers(swarm_health.Writer, inspect.isfunction):
        if not name.startswith("_") and name not in ("close", "fileno"):
            assert f"`{name}(" in README, name
    for field in swarm_health.Reading.__struct_fields__:
        assert f"`{field}`" in README, field
    for status in swarm_health.Status:
        assert f"{status.value} {status.name}" in README, status


def test_every_public_name_is_documented():
    for name in swarm_health.__all__:
        assert hasattr(swarm_health, name)
        assert name in ("__version__", "Report") or inspect.getdoc(getattr(swarm_health, name))
