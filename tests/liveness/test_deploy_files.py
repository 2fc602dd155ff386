"""Everything in deploy/, as far as a machine without a cluster can tell: schemas, cross-references, tools' checks.

systemd-analyze, hadolint and promtool have their say where they are installed; the checks of this file need none.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarm_liveness.metrics_table import BY_NAME

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# Defaults of the supervisor: shutdown_timeout 60 s + shutdown_grace 15 s.
SHUTDOWN_BUDGET_S = 75


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def workloads() -> list[Any]:
    return [
        pytest.param(document, id=f"{path.name}-{document['kind']}")
        for path in MANIFESTS
        for document in documents(path)
        if document["kind"] in ("Deployment", "StatefulSet")
    ]


def accepted_by(tool: str, *arguments: str, cwd: Path | None = None) -> bool:
    """Whether a tool accepts. Where it is not installed the test is skipped: what was not looked at has not passed."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed: what it would say of deploy/ is not known")
    done = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    print(done.stdout, done.stderr)
    return done.returncode == 0 and not done.stderr  # systemd-analyze only warns of what it cannot parse


class TestKubernetes:
    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
    def test_the_schema_accepts_every_object(self, path: Path) -> None:
        validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
        for document in documents(path):
            if document["apiVersion"].startswith("keda.sh/"):
                continue  # a custom resource: its own test is below
            validator.validate(document, "1.32", strict=True)

    def test_the_schema_is_strict(self) -> None:
        """The test above can fail: a misspelt field is an error."""
        validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
        (document,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
        document["spec"]["template"]["spec"]["terminationGracePeriod"] = 90
        with pytest.raises(validator.ValidationError):
            validator.validate(document, "1.32", strict=True)

    @pytest.mark.parametrize("workload", workloads())
    def test_there_is_time_for_the_whole_shutdown(self, workload: dict[str, Any]) -> None:
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= SHUTDOWN_BUDGET_S

    @pytest.mark.parametrize("workload", workloads())
    def test_probes_ask_for_paths_that_there_are_at_a_port_that_is_served(self, workload: dict[str, Any]) -> None:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        host, _, port = environment["SWARM_PROBE"].rpartition(":")
        assert host == "0.0.0.0"
        assert ports["probes"] == int(port)
        paths = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {probe["path"] for probe in paths.values()} == {"/livez", "/readyz"}
        assert paths["readinessProbe"]["path"] == "/readyz"
        assert {probe["port"] for probe in paths.values()} == {"probes"}
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == port

    @pytest.mark.parametrize("workload", workloads())
    def test_nothing_runs_as_root_or_may_become_it(self, workload: dict[str, Any]) -> None:
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]

    @pytest.mark.parametrize("workload", workloads())
    def test_resources_are_limited_and_the_selector_finds_the_pods(self, workload: dict[str, Any]) -> None:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}
        assert workload["spec"]["selector"]["matchLabels"] == workload["spec"]["template"]["metadata"]["labels"]

    def test_the_stateful_set_takes_its_static_ids_from_the_pods_name(self) -> None:
        service, workload = documents(DEPLOY / "kubernetes" / "statefulset.yaml")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry for entry in container["env"]}
        assert environment["SWARM_GROUP_INSTANCE_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        assert environment["SWARM_NODES"]["value"].isdigit()
        assert workload["spec"]["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None"
        # A pod's way out and back in must fit the session.
        (timeout,) = [arg for arg in container["args"] if arg.startswith("session.timeout.ms=")]
        grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert int(timeout.partition("=")[2]) / 1000 > grace + 30

    def test_the_disruption_budget_and_the_scaler_find_the_workload(self) -> None:
        (workload,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
        (budget,) = documents(DEPLOY / "kubernetes" / "poddisruptionbudget.yaml")
        (scaler,) = documents(DEPLOY / "kubernetes" / "scaledobject.yaml")
        assert budget["spec"]["selector"]["matchLabels"] == workload["metadata"]["labels"]
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", workload["metadata"]["name"])

    def test_the_scaler_has_what_keda_requires_of_a_kafka_trigger(self) -> None:
        (scaler,) = documents(DEPLOY / "kubernetes" / "scaledobject.yaml")
        assert scaler["apiVersion"] == "keda.sh/v1alpha1"
        spec = scaler["spec"]
        assert 0 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
        (trigger,) = spec["triggers"]
        assert trigger["type"] == "kafka"
        assert {"bootstrapServers", "consumerGroup", "topic", "lagThreshold"} <= set(trigger["metadata"])
        # KEDA reads the metadata of a trigger as strings.
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


class TestSystemd:
    UNIT = DEPLOY / "systemd" / "swarm@.service"

    def settings(self) -> dict[str, str]:
        lines = [line for line in self.UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines)

    def test_systemd_accepts_the_unit(self, tmp_path: Path) -> None:
        # The program is not installed here: /bin/true stands for it; everything else is as shipped.
        unit = tmp_path / "swarm@flights.service"
        unit.write_text(self.UNIT.read_text().replace("/opt/swarm/bin/swarm-cli", "/bin/true"))
        assert accepted_by("systemd-analyze", "verify", "--man=no", str(unit))

    def test_the_supervisor_alone_gets_the_stop_signal_and_has_time_for_it(self) -> None:
        settings = self.settings()
        assert settings["KillMode"] == "mixed"
        assert int(settings["TimeoutStopSec"]) >= SHUTDOWN_BUDGET_S
        assert settings["Type"] == "notify"
        assert settings["NotifyAccess"] == "main"
        assert int(settings["WatchdogSec"]) > 0
        assert settings["RestartPreventExitStatus"] == "2"
        assert settings["OOMPolicy"] == "continue"


class TestDockerfile:
    LINES = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()

    def instructions(self) -> list[tuple[str, str]]:
        return [
            (line.split(None, 1)[0], line.split(None, 1)[1]) for line in self.LINES if line and not line.startswith("#")
        ]

    def test_hadolint_accepts_it(self) -> None:
        assert accepted_by("hadolint", str(DEPLOY / "Dockerfile"))

    def test_it_has_two_stages_and_ends_as_an_ordinary_user(self) -> None:
        instructions = self.instructions()
        assert [name for name, _ in instructions].count("FROM") == 2
        users = [value for name, value in instructions if name == "USER"]
        assert users == ["10001:10001"]
        last = [name for name, _ in instructions]
        assert last.index("USER") > max(index for index, name in enumerate(last) if name in ("RUN", "COPY"))

    def test_process_1_is_an_init_and_the_command_gets_signals_itself(self) -> None:
        """The exec form: a shell in between would not pass TERM on."""
        (entrypoint,) = [value for name, value in self.instructions() if name == "ENTRYPOINT"]
        assert json.loads(entrypoint) == ["tini", "--", "swarm-cli"]
        (command,) = [value for name, value in self.instructions() if name == "CMD"]
        assert json.loads(command)[0] == "swarm"

    def test_what_it_copies_and_installs_is_there(self) -> None:
        sources = [value.split()[0] for name, value in self.instructions() if name == "COPY" and "--from" not in value]
        (install,) = [value for name, value in self.instructions() if name == "RUN" and "pip install" in value]
        packages = re.findall(r"\./(packages/[a-z]+)", install)
        assert {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")} == {
            package.split("/")[1] for package in packages
        }
        for source in sources:
            assert (ROOT / source).is_dir()
        ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
        for source in sources:
            assert any(source == one or source.startswith(f"{one}/") for one in allowed), source
        # A link out of the packages is followed by the build: what it points to must be copied too.
        for link in (path for path in (ROOT / "packages").rglob("*") if path.is_symlink()):
            target = str(link.resolve().relative_to(ROOT))
            assert any(target == one or target.startswith(f"{one}/") for one in sources), link


def metric_names(text: str) -> set[str]:
    """The metrics that an expression names; of a histogram by its own name."""
    names = set(re.findall(r"\bswarm_[a-z_]+", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in BY_NAME else name for name in names}


class TestPrometheus:
    ALERTS = DEPLOY / "prometheus" / "alerts.yaml"

    def test_every_metric_of_the_alerts_is_in_the_table_with_its_labels(self) -> None:
        (document,) = documents(self.ALERTS)
        rules = [rule for group in document["groups"] for rule in group["rules"]]
        assert len({rule["alert"] for rule in rules}) == len(rules) > 5
        for rule in rules:
            used = metric_names(rule["expr"])
            assert used
            assert used <= set(BY_NAME), rule["alert"]
            labels = {"job", "instance"} | {label for name in used for label in BY_NAME[name].labels}
            named = set(re.findall(r"\$labels\.([a-z_]+)", json.dumps(rule["annotations"])))
            assert named <= labels, rule["alert"]
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["labels"]["severity"] in ("info", "warning", "critical")

    def test_a_silent_node_is_told_of_by_the_timeout_that_is_set(self) -> None:
        """It was 45 s: with a longer node_report_timeout it fired for healthy nodes, with a shorter one never."""
        (document,) = documents(self.ALERTS)
        rules = {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}
        assert metric_names(rules["SwarmNodeSilent"]["expr"]) == {
            "swarm_node_report_age_seconds", "swarm_report_timeout_seconds"
        }  # fmt: skip

    def test_prometheus_accepts_the_alerts(self) -> None:
        assert accepted_by("promtool", "check", "rules", str(self.ALERTS))

    def test_the_rules_own_tests_are_about_rules_that_there_are(self) -> None:
        tests = self.ALERTS.with_name("alerts_test.yaml")
        (document,) = documents(self.ALERTS)
        rules = {rule["alert"] for group in document["groups"] for rule in group["rules"]}
        tested = set(re.findall(r'alertname[:=] ?"?([A-Za-z]+)', tests.read_text()))
        assert tested == rules, "each alert has a test in which it fires"

    def test_the_rules_pass_their_own_tests(self) -> None:
        tests = self.ALERTS.with_name("alerts_test.yaml")
        assert accepted_by("promtool", "test", "rules", tests.name, cwd=tests.parent)


class TestGrafana:
    DASHBOARD = json.loads((DEPLOY / "grafana" / "swarm.json").read_text())

    def test_every_metric_of_the_dashboard_is_in_the_table(self) -> None:
        panels = [panel for panel in self.DASHBOARD["panels"] if panel["type"] != "row"]
        assert len(panels) > 10
        for panel in panels:
            for target in panel["targets"]:
                used = metric_names(target["expr"])
                assert used, panel["title"]
                assert used <= set(BY_NAME), panel["title"]
                known = {"instance", "job", "topic"} | {label for name in used for label in BY_NAME[name].labels}
                assert set(re.findall(r"\{\{([a-z_]+)\}\}", target["legendFormat"])) <= known, panel["title"]
                for name in used:
                    grows = BY_NAME[name].kind != "gauge"
                    rated = re.search(rf"(rate|increase)\({name}(_bucket)?\b", target["expr"])
                    assert grows == bool(rated), panel["title"]

    def test_prometheus_can_parse_every_query(self, tmp_path: Path) -> None:
        """With promtool, where it is installed: each query as a rule of its own."""
        queries = [target["expr"] for panel in self.DASHBOARD["panels"] for target in panel.get("targets", ())]
        assert len(queries) > 20
        rules = [
            {"record": f"query:number_{number}", "expr": query.replace("$__rate_interval", "1m")}
            for number, query in enumerate(queries)
        ]
        path = tmp_path / "queries.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        assert accepted_by("promtool", "check", "rules", str(path))

    def test_panels_have_ids_of_their_own_and_do_not_overlap(self) -> None:
        panels = self.DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells

    def test_the_data_source_is_a_choice(self) -> None:
        variables = {variable["name"] for variable in self.DASHBOARD["templating"]["list"]}
        assert variables == {"datasource", "instance"}
        for panel in self.DASHBOARD["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"]["uid"] == "${datasource}"
                assert panel["description"]
