"""Secrets in client properties: which properties are secret, and how to remove their values from text."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "[redacted]"

# Property names of librdkafka whose value is a credential. `*.location` names a file and is not a secret itself.
_SECRET = re.compile(
    r"(pass|pa?s+w|pwd|user\.info|secret|token(?!\.endpoint)|credential|\.pem$|jaas|sasl\.oauthbearer\.config"
    r"|(^|[._-])(api)?keys?($|[._-]))"
)
_NOT_SECRET = re.compile(r"(\.location|\.url|\.cb|_cb|\.enable|\.method|\.algorithm)$")
# All up to the last "@": a password may hold "@" and "/", and there may be a token and no user. It hides too much
# rather than too little: for an address with an "@" in its path, the host is hidden too.
_USER_INFO = re.compile(r"(?<=://)[^\s\"'<>]+(?=@)")


def is_secret(name: str) -> bool:
    """Whether the value of the client property `name` must not be shown."""
    lowered = name.lower()
    return bool(_SECRET.search(lowered)) and not _NOT_SECRET.search(lowered)


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the properties without secrets."""
    return {name: MASK if is_secret(name) else _clean_value(value) for name, value in properties.items()}


def secrets_of(properties: Mapping[str, Any]) -> frozenset[str]:
    """Return the secret values of the properties, to be removed from text with `scrub`."""
    found = {str(value) for name, value in properties.items() if is_secret(name)}
    # librdkafka repeats the part of this one, "key=value key=value", that it does not understand.
    found.update(str(properties.get("sasl.oauthbearer.config", "")).split())
    return frozenset(secret for secret in found if len(secret) >= 3)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret value, and any user and password inside a URL, masked."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, MASK)
    return _USER_INFO.sub(MASK, text)


class ScrubbingFilter(logging.Filter):
    """Removes the secrets of all clients created so far from the records of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: frozenset[str] = frozenset()

    def learn(self, secrets: Iterable[str]) -> None:
        """Cut these out too, from now on."""
        self._secrets |= frozenset(secrets)

    def clean(self, text: str) -> str:
        """Return the text without the secrets."""
        return scrub(text, self._secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record; it always stays."""
        record.msg, record.args = self.clean(record.getMessage()), ()
        return True


def _clean_value(value: Any) -> Any:
    return _USER_INFO.sub(MASK, value) if isinstance(value, str) else value
