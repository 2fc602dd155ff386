"""How kafka-python reaches a cluster with the properties of a librdkafka client; what it cannot take over is refused.

Pure. A property that decides who is trusted, or who we are, is either carried over or refused, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm_consumer.eviction.tls import Tls

Token = Callable[[], tuple[str, Mapping[str, str]]]
"""Returns the token of SASL/OAUTHBEARER and its extensions."""

TELLING = re.compile(r"security\.|ssl[._]|sasl[._]|enable\.(ssl|sasl)\.|oauth_cb$|plugin\.")
"""Properties that decide who is trusted and who we are."""
TLS = {
    "ssl.ca.location": "ca_location",
    "ssl.ca.pem": "ca_pem",
    "ssl.certificate.location": "certificate_location",
    "ssl.certificate.pem": "certificate_pem",
    "ssl.key.location": "key_location",
    "ssl.key.pem": "key_pem",
    "ssl.key.password": "key_password",
    "ssl.crl.location": "crl_location",
    "ssl.cipher.suites": "ciphers",
}
"""Properties that `Tls` takes as they are."""
_ELSEWHERE = {
    "security.protocol", "enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm",
    "ssl.ca.certificate.stores",  # of Windows
    "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "sasl.oauthbearer.method",
    "sasl.oauthbearer.config", "enable.sasl.oauthbearer.unsecure.jwt", "oauth_cb",
}  # fmt: skip
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_SERVER = re.compile(r"(?:(?P<protocol>[A-Za-z_]+)://)?(?P<server>(?:\[[^\]]+\]|[^\[\]/:]+)(?::\d+)?)$")
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


class Unmapped(ValueError):
    """Kafka-python cannot reach the cluster as the client does; one sentence without any secret."""


class Properties(Protocol):
    """The properties of a subscription group's client: `swarm_consumer.admin.ClientProperties`."""

    def for_client(self) -> dict[str, Any]:
        """Return them all, secrets included."""

    def scrub(self, text: str) -> str:
        """Return the text without their secrets."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach the coordinator of a consumer group."""

    group: str
    """The consumer group."""
    settings: Mapping[str, Any] = field(repr=False)
    """Of kafka-python's client, but for TLS and the token."""
    tls: Tls | None = field(repr=False, default=None)
    token: Token | None = field(repr=False, default=None)
    scrub: Callable[[str], str] = field(repr=False, default=str)
    """Takes the secrets out of a text."""


def access(properties: Properties) -> Access:
    """Return how to reach the cluster of a client with these properties. Raises `Unmapped`."""
    given = properties.for_client()
    protocol = str(given.get("security.protocol", "plaintext")).upper()
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise Unmapped("the value of security.protocol is none that kafka-python has")
    tls = _tls(given) if protocol.endswith("SSL") else None
    sasl, token = _sasl(given) if protocol.startswith("SASL") else ({}, None)
    for name in sorted(filter(TELLING.match, given)):
        if name not in _ELSEWHERE and name not in TLS and _matters(name, protocol, sasl):
            raise Unmapped(f"kafka-python has nothing like the property {name}")
    return Access(
        group=str(given["group.id"]),
        settings={
            "bootstrap_servers": _servers(given, protocol),
            # A name of its own: its threads are known by it.
            "client_id": f"{given['client.id']}-evict",
            "security_protocol": protocol,
            "client_dns_lookup": str(given.get("client.dns.lookup", "use_all_dns_ips")),
            **sasl,
        },
        tls=tls,
        token=token,
        scrub=properties.scrub,
    )


def _matters(name: str, protocol: str, sasl: Mapping[str, Any]) -> bool:
    """Whether a client with this protocol looks at the property at all."""
    if name.startswith("sasl.kerberos."):
        return False  # of GSSAPI, which was refused before
    if name.startswith("sasl.oauthbearer."):
        return sasl.get("sasl_mechanism") == "OAUTHBEARER"
    if name.startswith(("sasl", "enable.sasl")):
        return protocol.startswith("SASL")
    return protocol.endswith("SSL") if name.startswith(("ssl", "enable.ssl")) else True


def _servers(given: Mapping[str, Any], protocol: str) -> list[str]:
    servers = []
    named = given.get("bootstrap.servers", given.get("metadata.broker.list", ""))
    for text in filter(None, map(str.strip, str(named).split(","))):
        found = _SERVER.match(text)
        if found is None or (found["protocol"] or protocol).upper() != protocol:
            raise Unmapped("kafka-python takes bootstrap.servers as HOST:PORT, all of the same security.protocol")
        servers.append(found["server"])
    if not servers:
        raise Unmapped("bootstrap.servers names no broker")
    return servers


def _tls(given: Mapping[str, Any]) -> Tls:
    algorithm = str(given.get("ssl.endpoint.identification.algorithm", "https")).lower()
    texts = {field: str(given[name]) for name, field in TLS.items() if name in given}
    if texts.get("ca_location") == "probe":
        del texts["ca_location"]
    certificate = "certificate_location" in texts or "certificate_pem" in texts
    if certificate != ("key_location" in texts or "key_pem" in texts):
        raise Unmapped("kafka-python needs the client's certificate and its key together")
    return Tls(
        verify=_flag(given, "enable.ssl.certificate.verification", default=True),
        check_name=algorithm != "none",
        **texts,
    )


def _sasl(given: Mapping[str, Any]) -> tuple[dict[str, Any], Token | None]:
    named = given.get("sasl.mechanisms", given.get("sasl.mechanism", "GSSAPI"))
    mechanism = str(named).upper()
    if mechanism not in _MECHANISMS:
        known = ", ".join(_MECHANISMS)
        name = "GSSAPI (Kerberos)" if mechanism == "GSSAPI" else "the given one"
        raise Unmapped(f"of sasl.mechanisms only {known} are carried over to kafka-python, not {name}")
    if mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": mechanism}, _token(given)
    for name in ("sasl.username", "sasl.password"):
        if name not in given:
            raise Unmapped(f"{name} is missing")
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": str(given["sasl.username"]),
        "sasl_plain_password": str(given["sasl.password"]),
    }, None


def _token(given: Mapping[str, Any]) -> Token:
    """Return a function that asks the application's callback, as librdkafka does."""
    callback = given.get("oauth_cb")
    if str(given.get("sasl.oauthbearer.method", "default")).lower() != "default" or not callable(callback):
        raise Unmapped("a token of SASL/OAUTHBEARER comes to kafka-python from oauth_cb only, not from librdkafka")
    config = str(given.get("sasl.oauthbearer.config", ""))

    def token() -> tuple[str, Mapping[str, str]]:
        # (token, time of its end), and then, if given: principal, extensions.
        answer = callback(config)
        return str(answer[0]), dict(answer[3]) if len(answer) > 3 and answer[3] else {}

    return token


def _flag(given: Mapping[str, Any], name: str, *, default: bool) -> bool:
    text = str(given.get(name, default)).lower()
    if text not in _TRUE + _FALSE:
        raise Unmapped(f"the value of {name} is neither true nor false")
    return text in _TRUE
