"""The page at /, which shows /status in a browser. It is one file, loads nothing else, and has nothing to click."""

from __future__ import annotations

import re
from importlib.resources import files

from swarm_liveness._serving.answers import Answer, Endpoint

HTML = "text/html; charset=utf-8"
NO_FRAMES = "frame-ancestors 'none'"
"""Browsers obey this only in a header, not in the page itself (CSP level 3, section 4.1)."""
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


def page() -> Endpoint:
    """The endpoint of the page. The file is read once: an upgrade cannot change what a running supervisor serves."""
    body = files("swarm_liveness._serving").joinpath("page.html").read_bytes()
    headers = (("Content-Security-Policy", f"{policy(body.decode())}; {NO_FRAMES}"),)
    return Endpoint(lambda request: Answer(200, HTML, body, headers))


def policy(html: str) -> str:
    """The content security policy in a page. Raises ValueError if it has none."""
    found = _POLICY.search(html)
    if found is None:
        raise ValueError("the page has no Content-Security-Policy")
    return found[1]
