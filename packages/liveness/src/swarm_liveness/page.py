"""The page at /: what /status says, drawn in a browser. One file, nothing from elsewhere, nothing to click."""

from __future__ import annotations

from importlib.resources import files

from swarm_liveness.probe import Answer, Endpoint

HTML = "text/html; charset=utf-8"


def page() -> Endpoint:
    """The endpoint of the page. It is read once: an upgrade under a running supervisor cannot change what it serves."""
    body = files("swarm_liveness").joinpath("page.html").read_bytes()
    return lambda: Answer(200, HTML, body)
