"""Removing members from a broker that asks who we are, with what the properties of librdkafka's client say of it."""

from __future__ import annotations

import base64
import gc
import json
import logging
import re
import socket
import subprocess
import time
import uuid
import warnings

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

pytest.importorskip("kafka.admin", reason="the extra swarm-consumer[evict] is not installed")

from swarm_consumer._scheduling.remembrance import Member
from swarm_consumer.eviction import Evictor, access, preload
from swarm_consumer.testing import KafkaUnavailable, create_topic
from swarm_consumer.testing._brokers import kafka_distribution as distribution
from swarm_consumer.testing._brokers.kafka_host import HOST, KafkaHost
from swarm_consumer.testing.kafka_broker import DEFAULT_PROPERTIES

pytestmark = [
    pytest.mark.real_kafka,
    # The library lets go of a socket that did not connect; Python closes it, and says so.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MODULE = "org.apache.kafka.common.security"


@pytest.fixture(autouse=True)
def sockets_of_the_library_are_gone():
    """kafka-python leaves some to the garbage collector, which would warn in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_port():
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


class SecuredHost(KafkaHost):
    """A broker with further listeners, which ask for TLS or for a name and a password."""

    def __init__(self, folder):
        super().__init__(time.sleep)
        self.tls = folder
        self.ports = {name: free_port() for name in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")}

    def _format(self):
        path = self._folder / "server.properties"
        plain = dict(line.split("=", 1) for line in path.read_text().splitlines())
        servers = "".join(f",{name}://{HOST}:{port}" for name, port in self.ports.items())
        protocols = "".join(f",{name}:{name}" for name in self.ports)
        lines = {
            "listeners": plain["listeners"] + servers,
            "advertised.listeners": plain["advertised.listeners"] + servers,
            "listener.security.protocol.map": plain["listener.security.protocol.map"] + protocols,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.tls / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.tls / "cert.pem",
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        }
        for listener in ("sasl_plaintext", "sasl_ssl"):
            jaas = f"listener.name.{listener}.%s.sasl.jaas.config"
            lines[jaas % "plain"] = f'{MODULE}.plain.PlainLoginModule required user_me="s3cret";'
            lines[jaas % "scram-sha-256"] = lines[jaas % "scram-sha-512"] = f"{MODULE}.scram.ScramLoginModule required;"
            lines[jaas % "oauthbearer"] = (
                f'{MODULE}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            )
        path.write_text("".join(f"{name}={value}\n" for name, value in {**plain, **lines}.items()))
        super()._format()


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """The broker, and the folder with its certificates."""
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost"
    names = f"-addext subjectAltName=DNS:localhost,IP:{HOST}"
    subprocess.run(f"{make} {names} -keyout key.pem -out cert.pem".split(), cwd=folder, check=True, capture_output=True)
    (folder / "server.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    host = SecuredHost(folder)
    try:
        java, libraries = distribution.find_program("java"), distribution.resolve(distribution.KAFKA_VERSION)
    except KafkaUnavailable as error:
        pytest.skip(str(error))
    try:
        started = host.handle("start", {
            "java": java, "libraries": str(libraries), "port": 0, "properties": DEFAULT_PROPERTIES, "timeout_s": 60.0,
        })  # fmt: skip
        host.bootstrap = started["bootstrap"]
        create_topic(host.bootstrap, "flights", 2)
        add_users(host.bootstrap)
        preload()
        yield host
    finally:
        host.clean_up()
        if host._mark is not None:
            host._mark.close()


def add_users(bootstrap):
    from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        change = UserScramCredentialUpsertion("me", ScramCredentialInfo(mechanism, 4096), b"s3cret")
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(20)


def unsecured_token(config):
    """A token as brokers take it that are set up for development."""
    now = time.time()

    def part(content):
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': 'me', 'iat': now, 'exp': now + 600})}.", now + 600


class Given:
    def __init__(self, properties):
        self._properties = properties

    def for_client(self):
        return dict(self._properties)

    def scrub(self, text):
        return text.replace("s3cret", "[redacted]")


USER = {"sasl.username": "me", "sasl.password": "s3cret"}


def security(host, name):
    """Properties for a client of this broker."""
    listener, _, mechanism = name.partition(":")
    trust = {"ssl.ca.location": str(host.tls / "cert.pem")} if "SSL" in listener else {}
    mutual = {
        "ssl.certificate.pem": (host.tls / "cert.pem").read_text(), "ssl.key.pem": (host.tls / "key.pem").read_text(),
    } if listener == "SSL" else {}  # fmt: skip
    sasl = {"sasl.mechanisms": mechanism} if mechanism else {}
    sasl |= {"oauth_cb": unsecured_token} if mechanism == "OAUTHBEARER" else USER if mechanism else {}
    servers = {"bootstrap.servers": f"{HOST}:{host.ports[listener]}", "security.protocol": listener}
    return {**servers, **trust, **mutual, **sasl}


@pytest.fixture
def member(secured):
    """A live member of a new group, to be removed; its client is not told of it before it polls again."""
    group, there = f"group-{uuid.uuid4().hex[:8]}", []
    client = confluent_kafka.Consumer(
        {"bootstrap.servers": secured.bootstrap, "group.id": group, "session.timeout.ms": 30_000, "log_level": 0}
    )
    client.subscribe(["flights"], on_assign=lambda *_: there.append(True), on_lost=lambda *_: None)
    deadline = time.monotonic() + 30
    while not there:
        assert time.monotonic() < deadline
        client.poll(0.1)
    yield Member(group, client.memberid())
    client.close()


def members(host, group):
    admin = AdminClient({"bootstrap.servers": host.bootstrap})
    (future,) = admin.describe_consumer_groups([group]).values()
    return [one.member_id for one in future.result(20).members]


@pytest.mark.parametrize(
    "name",
    [
        "SSL", "SASL_PLAINTEXT:PLAIN", "SASL_SSL:PLAIN", "SASL_SSL:SCRAM-SHA-256", "SASL_SSL:SCRAM-SHA-512",
        "SASL_PLAINTEXT:OAUTHBEARER",
    ],
)  # fmt: skip
def test_a_member_is_removed(secured, member, name, caplog):
    caplog.set_level(logging.DEBUG)
    assert members(secured, member.group) == [member.member_id]
    given = {"group.id": member.group, "client.id": "shop", **security(secured, name)}
    began = time.monotonic()
    Evictor({"orders": access(Given(given))})("orders", [member], within_s=5.0)
    print(f"{name}: {time.monotonic() - began:.3f} s")
    assert "could not be removed" not in caplog.text
    assert member.member_id not in members(secured, member.group)
    assert "s3cret" not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("kafka")]


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        # The broker says why and ends the connection; read together, the library knows the end only.
        ("SASL_SSL:PLAIN", {"sasl.password": "s3cret-but-wrong"}, "Authentication|socket disconnected"),
        ("SASL_SSL:PLAIN", {"ssl.ca.location": "probe"}, "CERTIFICATE_VERIFY_FAILED"),
        ("SSL", {"ssl.certificate.pem": None, "ssl.key.pem": None}, "SSL"),
        ("SASL_PLAINTEXT:OAUTHBEARER", {"oauth_cb": lambda config: 1 / 0}, "division by zero"),
    ],
)
def test_what_the_broker_refuses_is_one_line_without_secrets(secured, member, name, wrong, said, caplog):
    caplog.set_level(logging.DEBUG)
    given = {"group.id": member.group, "client.id": "shop", **security(secured, name), **wrong}
    given = {name: value for name, value in given.items() if value is not None}
    began = time.monotonic()
    Evictor({"orders": access(Given(given))})("orders", [member])
    assert time.monotonic() - began < 1.4
    (line,) = [record.getMessage() for record in caplog.records if record.name == "swarm_consumer.eviction"]
    print(line)
    assert "could not be removed" in line
    assert re.search(said, line)
    assert "s3cret" not in caplog.text
    assert members(secured, member.group) == [member.member_id]
