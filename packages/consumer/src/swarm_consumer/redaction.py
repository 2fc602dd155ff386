"""Secrets in client properties: which properties are secret, and how text is cleaned of their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "[redacted]"

# Property names of librdkafka whose value is a credential. `*.location` names a file and is no secret itself.
_SECRET = re.compile(
    r"(password|secret|token(?!\.endpoint)|credential|\.pem$|key\.pem|jaas|ssl_key|sasl\.oauthbearer\.config|private\.key)"
)
_NOT_SECRET = re.compile(r"(\.location|\.url|\.cb|_cb|\.enable|\.method|\.algorithm)$")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def is_secret(name: str) -> bool:
    """Whether the value of the client property `name` must not be shown."""
    lowered = name.lower()
    return bool(_SECRET.search(lowered)) and not _NOT_SECRET.search(lowered)


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the properties fit to be shown."""
    return {name: MASK if is_secret(name) else _clean_value(value) for name, value in properties.items()}


def secrets_of(properties: Mapping[str, Any]) -> frozenset[str]:
    """Return the secret values among the properties, to be cut out of text with `scrub`."""
    return frozenset(str(value) for name, value in properties.items() if is_secret(name) and len(str(value)) >= 3)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret value, and any user and password inside a URL, masked."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USER_INFO.sub(MASK, text)


def _clean_value(value: Any) -> Any:
    return _USER_INFO.sub(MASK, value) if isinstance(value, str) else value
