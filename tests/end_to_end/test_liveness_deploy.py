"""What deploy/ says agrees with the packages: options that there are, and time for the whole shutdown."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from swarm_cli.settings import Settings as CommandLine
from swarm_liveness.metrics_table import BY_NAME
from swarm_supervisor.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FILES = [*sorted((DEPLOY / "kubernetes").glob("*.yaml")), DEPLOY / "systemd" / "swarm@.service", DEPLOY / "Dockerfile"]
OPTIONS = {field.name for field in dataclasses.fields(CommandLine)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_option_that_is_set_is_one(path: Path) -> None:
    text = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    variables = {name.lower() for name in re.findall(r"\bSWARM_([A-Z_]+)\b", text)} - {"app"}
    options = {name.replace("-", "_") for name in re.findall(r'"--([a-z-]+)"', text)}
    if path.name in ("deployment.yaml", "statefulset.yaml"):
        assert variables
    assert variables | options <= OPTIONS


def test_the_page_about_kubernetes_names_options_manifests_and_metrics_that_there_are() -> None:
    text = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
    of_status = {name for name in ("check", "timeout") if f'"--{name}"' in text}
    named = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+)", text)} - of_status
    assert {"probe", "memory_share", "group_instance_id"} < named
    assert named <= OPTIONS
    assert {name.lower() for name in re.findall(r"\bSWARM_([A-Z_]+)", text)} <= OPTIONS
    assert set(re.findall(r"\bswarm_[a-z_]+", text)) <= set(BY_NAME)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DEPLOY.parent / "docs" / target).exists(), target
    # The exec probe of the page is what a container takes, and a command that the command line takes.
    (snippet,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    probe = yaml.safe_load(snippet)["livenessProbe"]
    command = probe["exec"]["command"]
    assert probe["timeoutSeconds"] > float(command[-1])
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", *command[1:], "--control", "/nowhere.sock"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "no supervisor answers" in done.stderr) == (1, True), done.stderr


def test_pods_and_units_have_time_for_the_whole_shutdown() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    budget = defaults["shutdown_timeout"] + defaults["shutdown_grace"]
    assert budget == 75.0
    for name in ("deployment.yaml", "statefulset.yaml"):
        for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()):
            if document["kind"] != "Service":
                assert document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > budget
    unit = (DEPLOY / "systemd" / "swarm@.service").read_text()
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert int(stop) > budget
