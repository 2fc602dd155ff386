"""What of librdkafka's properties reaches kafka-python, and what is refused: no property about trust is left out."""

from __future__ import annotations

import gc
import runpy
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

from swarm_consumer.eviction import Unmapped, access
from swarm_consumer.eviction.tls import Tls

SERVERS = {"bootstrap.servers": "one:9092, two:9093"}
PLAIN = {**SERVERS, "security.protocol": "sasl_plaintext", "sasl.username": "me", "sasl.password": "s3cret"}
TLS = {**SERVERS, "security.protocol": "SSL"}


@pytest.fixture(autouse=True)
def sockets_of_the_library_are_gone():
    """kafka-python leaves some to the garbage collector, which would warn in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Given:
    """Stands for the properties of a subscription group's client."""

    def __init__(self, properties):
        self._properties = {"group.id": "orders", "client.id": "shop-3", **properties}

    def for_client(self):
        return dict(self._properties)

    def scrub(self, text):
        return text.replace(str(self._properties.get("sasl.password", "\0")), "[redacted]")


def mapped(**properties):
    return access(Given({name.replace("__", "."): value for name, value in properties.items()}))


BASE = {
    "bootstrap_servers": ["one:9092", "two:9093"],
    "client_id": "shop-3-evict",
    "security_protocol": "PLAINTEXT",
    "client_dns_lookup": "use_all_dns_ips",
}


@pytest.mark.parametrize(
    ("properties", "settings"),
    [
        (SERVERS, BASE),
        ({"metadata.broker.list": "one:9092,two:9093"}, BASE),
        ({"bootstrap.servers": "plaintext://one:9092,two:9093"}, BASE),
        ({"bootstrap.servers": "[::1]:9092"}, {**BASE, "bootstrap_servers": ["[::1]:9092"]}),
        ({"bootstrap.servers": "one"}, {**BASE, "bootstrap_servers": ["one"]}),
        (
            {**SERVERS, "client.dns.lookup": "resolve_canonical_bootstrap_servers_only"},
            {**BASE, "client_dns_lookup": "resolve_canonical_bootstrap_servers_only"},
        ),
        # What says nothing of trust is not looked at, nor what this protocol does not use.
        ({**SERVERS, "socket.keepalive.enable": True, "session.timeout.ms": 6000, "debug": "cgrp"}, BASE),
        ({**SERVERS, "ssl.engine.location": "/lib/engine.so", "sasl.mechanisms": "GSSAPI"}, BASE),
        (
            {**PLAIN, "sasl.mechanism": "PLAIN"},
            {
                **BASE, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN",
                "sasl_plain_username": "me", "sasl_plain_password": "s3cret",
            },
        ),
        (
            {**PLAIN, "sasl.mechanisms": "SCRAM-SHA-512", "security.protocol": "sasl_ssl",
             "sasl.kerberos.service.name": "kafka"},
            {
                **BASE, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "me", "sasl_plain_password": "s3cret",
            },
        ),
        (
            {**PLAIN, "sasl.mechanisms": "SCRAM-SHA-256"},
            {
                **BASE, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256",
                "sasl_plain_username": "me", "sasl_plain_password": "s3cret",
            },
        ),
    ],
)  # fmt: skip
def test_what_is_carried_over(properties, settings):
    found = access(Given(properties))
    assert found.group == "orders"
    assert found.settings == settings
    assert (found.tls is None) == ("SSL" not in settings["security_protocol"])
    assert found.token is None


@pytest.mark.parametrize(
    ("properties", "tls"),
    [
        ({}, Tls()),
        ({"ssl.ca.location": "probe"}, Tls()),
        (
            {"ssl.ca.location": "/ca.pem", "ssl.crl.location": "/crl.pem", "ssl.cipher.suites": "HIGH"},
            Tls(ca_location="/ca.pem", crl_location="/crl.pem", ciphers="HIGH"),
        ),
        (
            {"ssl.certificate.location": "/c.pem", "ssl.key.location": "/k.pem", "ssl.key.password": "open"},
            Tls(certificate_location="/c.pem", key_location="/k.pem", key_password="open"),
        ),
        (
            {"ssl.ca.pem": "CA", "ssl.certificate.pem": "C", "ssl.key.pem": "K"},
            Tls(ca_pem="CA", certificate_pem="C", key_pem="K"),
        ),
        ({"enable.ssl.certificate.verification": False}, Tls(verify=False)),
        ({"enable.ssl.certificate.verification": "F"}, Tls(verify=False)),
        ({"ssl.endpoint.identification.algorithm": "none"}, Tls(check_name=False)),
        ({"ssl.endpoint.identification.algorithm": "https"}, Tls()),
        ({"ssl.ca.certificate.stores": "Root"}, Tls()),
    ],
)
def test_tls(properties, tls):
    assert access(Given({**TLS, **properties})).tls == tls


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "bootstrap.servers names no broker"),
        ({"bootstrap.servers": "ssl://one:9092"}, "all of the same security.protocol"),
        ({"bootstrap.servers": "one:9092/path"}, "HOST:PORT"),
        ({**SERVERS, "security.protocol": "s3cret"}, "security.protocol"),
        ({**SERVERS, "plugin.library.paths": "iam"}, "plugin.library.paths"),
        ({**PLAIN}, "not GSSAPI (Kerberos)"),
        ({**PLAIN, "sasl.mechanisms": "s3cret"}, "not the given one"),
        ({**PLAIN, "sasl.mechanisms": "PLAIN", "sasl.aws.region": "x"}, "nothing like the property sasl.aws.region"),
        ({**SERVERS, "security.protocol": "sasl_ssl", "sasl.mechanisms": "PLAIN"}, "sasl.username is missing"),
        ({**PLAIN, "sasl.mechanisms": "OAUTHBEARER"}, "from oauth_cb only"),
        ({**PLAIN, "sasl.mechanisms": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc", "oauth_cb": print}, "oauth_cb"),
        (
            {**PLAIN, "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": print, "sasl.oauthbearer.scope": "s3cret"},
            "nothing like the property sasl.oauthbearer.scope",
        ),
        ({**TLS, "ssl.engine.location": "/lib/engine.so"}, "ssl.engine.location"),
        ({**TLS, "ssl.providers": "legacy"}, "ssl.providers"),
        ({**TLS, "ssl.keystore.location": "/keys.p12"}, "ssl.keystore.location"),
        ({**TLS, "ssl.curves.list": "P-256"}, "ssl.curves.list"),
        ({**TLS, "ssl_key": object()}, "ssl_key"),
        ({**TLS, "ssl.certificate.location": "/c.pem"}, "certificate and its key"),
        ({**TLS, "ssl.key.pem": "s3cret"}, "certificate and its key"),
        ({**TLS, "enable.ssl.certificate.verification": "s3cret"}, "neither true nor false"),
    ],
)
def test_what_is_refused_in_one_sentence_without_secrets(properties, said):
    with pytest.raises(Unmapped) as refused:
        access(Given(properties))
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("answer", [("t0ken", 12.0), ("t0ken", 12.0, "me", {}), ("t0ken", 12.0, "me", None)])
def test_a_token_comes_from_the_callback_of_the_application(answer):
    asked = []
    found = access(
        Given(
            {
                **PLAIN, "sasl.mechanisms": "OAUTHBEARER", "sasl.oauthbearer.config": "scope=x",
                "oauth_cb": lambda config: asked.append(config) or answer,
            }
        )
    )  # fmt: skip
    assert asked == []  # not before it is needed
    assert found.token() == ("t0ken", {})
    assert asked == ["scope=x"]


def test_extensions_go_with_the_token():
    answer = ("t0ken", 12.0, "me", {"logicalCluster": "lkc"})
    properties = {**PLAIN, "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": lambda config: answer}
    assert access(Given(properties)).token() == ("t0ken", {"logicalCluster": "lkc"})


def test_the_example_of_the_page_reaches_every_group():
    from swarm_consumer import App

    example = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "evictor.py"))
    app = App("shop", {"bootstrap.servers": "one:9092"})
    app.consume("flights", group="orders")(print)
    app.consume("parcels", group="others", kafka={"security.protocol": "ssl"})(print)
    evictor = example["evictor_of"](app)
    assert sorted(access.group for access in evictor._groups.values()) == ["orders", "others"]
    assert {name: access.settings["client_id"] for name, access in evictor._groups.items()}["orders"] == "shop-evict"


def test_no_text_of_it_shows_a_secret():
    given = {**PLAIN, "sasl.mechanisms": "PLAIN", "security.protocol": "SASL_SSL", "ssl.key.password": "s3cret"}
    found = access(Given(given))
    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(found.tls)


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A certificate that signs itself, its key, and the key under a password."""
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    for command in (
        f"{make} -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem",
        "openssl pkey -in key.pem -aes128 -passout pass:open -out locked.pem",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


class TestContext:
    def test_it_trusts_the_named_authority_only_and_checks_names(self, pems):
        context = Tls(ca_location=str(pems / "cert.pem")).context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert len(context.get_ca_certs()) == 1

    def test_an_authority_may_be_a_text_and_a_folder(self, pems):
        assert len(Tls(ca_pem=(pems / "cert.pem").read_text()).context().get_ca_certs()) == 1
        assert Tls(ca_location=str(pems)).context().get_ca_certs() == []  # a folder is looked into when it is needed

    def test_without_verification_nothing_is_checked(self):
        context = Tls(verify=False).context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)

    def test_names_alone_may_stay_unchecked(self):
        context = Tls(check_name=False).context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)

    @pytest.mark.parametrize("texts", [(False, False), (True, True), (True, False), (False, True)])
    def test_certificate_and_key_as_file_or_text(self, pems, texts):
        parts = {}
        for kind, file, as_text in (("certificate", "cert.pem", texts[0]), ("key", "locked.pem", texts[1])):
            path = pems / file
            parts |= {f"{kind}_pem": path.read_text()} if as_text else {f"{kind}_location": str(path)}
        Tls(**parts, key_password="open").context()

    @pytest.mark.parametrize("password", ["", "wrong"])
    def test_a_locked_key_without_its_password_is_an_error_and_asks_no_terminal(self, pems, password):
        tls = Tls(
            certificate_location=str(pems / "cert.pem"), key_location=str(pems / "locked.pem"), key_password=password
        )
        with pytest.raises((ssl.SSLError, OSError)):
            tls.context()

    def test_a_list_of_revoked_certificates_is_looked_at(self, pems):
        # Any PEM file is read; without a list in it each certificate would be refused.
        context = Tls(ca_location=str(pems / "cert.pem"), crl_location=str(pems / "cert.pem")).context()
        assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF

    def test_a_file_that_is_not_there_is_an_error(self):
        with pytest.raises(OSError):
            Tls(ca_location="/nowhere/ca.pem").context()
