"""Known secrets, set in every place where they can be set, are in no output of a swarm or of a command."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from swarm_consumer.testing import produce
from swarm_supervisor import ControlClient
from tests.end_to_end.test_probes import free_port

# Where each is set, and under which property; each value is found by its own mark, which no number can have in it.
IN_CODE = ("sasl.password", "hidden-in-code-zqx4711")
IN_FILE = ("ssl.key.password", "hidden-in-file-zqx4712")
IN_ENVIRONMENT = ("ssl.keystore.password", "hidden in environment zqx4713")
ON_COMMAND_LINE = ("sasl.oauthbearer.client.secret", "hidden-on-command-line-zqx4714")
IN_TOPIC = ("sasl.oauthbearer.config", "principal=me hidden=in-topic-zqx4715")
MARKS = ("zqx4711", "zqx4712", "zqx4713", "zqx4714", "zqx4715")

APP = f'''
import os

from swarm_consumer import App, Consumer, DeadLetters

app = App(
    "vault",
    kafka={{"{IN_CODE[0]}": "{IN_CODE[1]}", "sasl.username": "me", "ssl.endpoint.identification.algorithm": "none"}},
)


@app.topic(os.environ["TOPIC"], group="keepers", retry_backoff=0.05, kafka={{"{IN_TOPIC[0]}": "{IN_TOPIC[1]}"}},
           dead_letters=DeadLetters(max_retries=1))
class Keeper(Consumer):
    def consume(self, messages):
        raise ValueError(f"refused by {{self!r}} of {{app!r}}")
'''


class Vault:
    """A folder with an application and its configuration, and whatever was printed there."""

    def __init__(self, folder: Path, bootstrap: str, topic: str) -> None:
        self.folder, self.topic = folder, topic
        (folder / "vault.py").write_text(APP)
        (folder / "swarm.toml").write_text(
            f'app = "vault:app"\nbootstrap-servers = "{bootstrap}"\nkafka."{IN_FILE[0]}" = "{IN_FILE[1]}"\n'
        )
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.environment = os.environ | {
            "XDG_RUNTIME_DIR": str(runtime), "TOPIC": topic,
            "SWARM_KAFKA": f"{IN_ENVIRONMENT[0]}='{IN_ENVIRONMENT[1]}'",
        }  # fmt: skip
        self.kafka = ["--kafka", "=".join(ON_COMMAND_LINE)]
        self.outputs: dict[str, str] = {}

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command to its end and keep what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "swarm_cli", *arguments], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False,
        )  # fmt: skip
        self.outputs[" ".join(arguments)] = done.stdout
        assert code is None or done.returncode == code, done.stdout
        return done.stdout

    def check(self) -> None:
        """No output has a secret, and none is empty."""
        for name, output in self.outputs.items():
            assert output.strip(), f"{name} printed nothing: nothing was looked at"
            found = [line for line in output.splitlines() if any(mark in line for mark in MARKS)]
            # A command line, which the command itself repeats nowhere, is all that may have one.
            assert not found, f"{name} shows a secret:\n" + "\n".join(found)


@pytest.fixture
def vault(embedded_broker: Any, topic_name: Callable[..., str], tmp_path: Path) -> Iterator[Vault]:
    topic = topic_name("vault")
    embedded_broker.create_topic(topic, 2)
    produce(embedded_broker.bootstrap, topic, [b"%d" % number for number in range(20)])
    return Vault(tmp_path, embedded_broker.bootstrap, topic)


class Swarm:
    """A swarm of the vault at work."""

    def __init__(self, vault: Vault, *arguments: str) -> None:
        self._log = vault.folder / "swarm.log"
        command = [sys.executable, "-m", "swarm_cli", "swarm", "--nodes", "2", "--log-level", "debug", *vault.kafka]
        with self._log.open("wb") as stream:
            self.popen = subprocess.Popen(
                [*command, *arguments], cwd=vault.folder, env=vault.environment, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=stream,
            )  # fmt: skip

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> str:
        """Stop in order; everything that was printed."""
        self.popen.terminate()
        try:
            code = self.popen.wait(60)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait(10)
        assert code == 0, self.output()[-5000:]
        return self.output()


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def test_nothing_that_a_swarm_prints_or_answers_has_a_secret(vault: Vault, eventually: Callable[..., Any]) -> None:
    port, control = free_port(), vault.folder / "c.sock"
    swarm = Swarm(
        vault, "--log-format", "json", "--probe", str(port), "--control", str(control), "--kafka", "debug=all",
    )  # fmt: skip
    try:
        # The error of the handler, with its traceback, shows the application as it shows itself.
        eventually(lambda: "refused by" in swarm.output(), 60, "a failing batch")
        with ControlClient(control) as client:
            vault.outputs["status --json"] = msgspec.json.encode(client.status()).decode()
            vault.outputs["stacks"] = str(client.trace(0))
            vault.outputs["events"] = json.dumps(list(client.events(1.0)))
        for path in ("/livez", "/readyz", "/status", "/metrics", "/nowhere"):
            vault.outputs[path] = get(port, path)
        vault.run("status", "--control", str(control))
    finally:
        output = vault.outputs["swarm"] = swarm.end()
    assert "CONF" in output, "librdkafka was asked to print its properties"
    vault.check()


def test_no_command_shows_a_secret(vault: Vault) -> None:
    shown = vault.run("info", *vault.kafka)
    for name, _ in (IN_CODE, IN_FILE, IN_ENVIRONMENT, ON_COMMAND_LINE, IN_TOPIC):
        assert name in shown, f"{name} has not come so far: nothing was tested"
    assert shown.count("[redacted]") == 5
    vault.run("info", "--json", *vault.kafka)
    vault.run("routes", "--json", *vault.kafka)
    vault.run("topics", "plan", *vault.kafka, code=None)
    vault.check()


@pytest.mark.parametrize(
    "bad",
    [
        ["session.timeout.ms=hidden-zqx4714"],
        ["security.protocol=sasl_ssl", "ssl.key.pem=hidden-zqx4714"],
        # librdkafka repeats that part of sasl.oauthbearer.config that it does not understand.
        [
            "security.protocol=sasl_plaintext", "sasl.mechanisms=OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt=true",
        ],
        ["sasl.pasword=hidden-zqx4714"],
        ["hidden-zqx4714"],
    ],
    ids=["value", "pem", "oauthbearer", "misspelt", "no-value"],
)  # fmt: skip
def test_no_error_and_no_traceback_shows_a_secret(vault: Vault, bad: list[str]) -> None:
    options = [word for text in bad for word in ("--kafka", text)]
    vault.run("--debug", "swarm", *vault.kafka, "--connect-timeout", "1", *options, code=None)
    vault.check()
