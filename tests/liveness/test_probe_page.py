"""The page at /: served like the other paths, self-contained, and drawn from names that /status has."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from swarm_health import NodeStatistics, PartitionStatistics, TopicStatistics
from swarm_liveness._serving.checks import ready, status_parts
from swarm_liveness._serving.endpoints import endpoints
from swarm_liveness._serving.loop import ThreadLoop
from swarm_liveness._serving.page import page
from swarm_liveness._serving.request import Request
from swarm_liveness._serving.server import ProbeServer


@pytest.fixture
def html() -> str:
    body = page()(Request("/")).body
    assert isinstance(body, bytes)
    return body.decode()


@pytest.fixture
def port(swarm: Any) -> Iterator[int]:
    loop = ThreadLoop()
    server = ProbeServer(endpoints(swarm))
    server.attach(loop)
    loop.start()
    yield server.port
    loop.stop()
    server.close()


def request(port: int, method: str, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_a_browser_gets_the_page_and_cannot_change_anything_with_it(port: int, html: str) -> None:
    response, body = request(port, "GET", "/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body.decode() == html
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("; frame-ancestors 'none'"), "browsers heed this one in a header alone"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert request(port, "HEAD", "/")[1] == b""
    assert request(port, "POST", "/")[0].status == 405


def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|(src|href)=\"(?!data:|status\")", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", html)


def test_every_fact_it_draws_is_one_that_status_has(html: str, swarm: Any, node: Any) -> None:
    part = PartitionStatistics(topic="flights", partition=0)
    facts = NodeStatistics(partitions=[part], topics=[TopicStatistics("delays", "flights")])
    snapshot = swarm(nodes=[node(0, statistics=facts)])
    told = json.loads(b"".join(status_parts(snapshot, {"live": ready(snapshot), "ready": ready(snapshot)})))
    drawn: dict[str, dict[str, Any]] = {
        "swarm": told,
        "node": told["nodes"][0],
        "facts": told["nodes"][0]["statistics"],
        "part": told["partitions"][0],
        "topic": told["topics"][0],
        "total": told["totals"],
    }
    for name, has in drawn.items():
        uses = set(re.findall(rf"\b{name}\.([a-z_]+)", html))
        assert uses, name
        assert uses <= set(has), name
    assert {f"{metric}_mb" for metric in ("uss", "pss", "rss")} <= set(drawn["facts"])


def test_it_shows_the_numbers_that_every_view_shows(html: str) -> None:
    """It counted all nodes, dead ones too, and lost the partitions of a dead one."""
    assert "${swarm.running} of ${swarm.wanted} nodes" in html
    assert "swarm.nodes.length" not in html
    assert "no owner for ${seconds(part.unowned_s)}" in html
    assert "restarts in ${seconds(node.restart_in_s)}" in html


def test_what_was_heard_last_does_not_stay_green(html: str) -> None:
    assert 'classList.add("stale")' in html
    assert re.search(r"\.stale \.mark:not\(#state\) \{ background: var\(--soft\)", html)


def test_on_a_narrow_screen_the_lag_stays_and_the_pid_goes(html: str) -> None:
    heads = dict(re.findall(r'\["([^"]+)", "([a-z ]*)"\]', html))
    assert heads["pid"] == "third"
    assert "second" not in heads["lag"]
    assert re.search(r"max-width: 34rem\) \{[^@]*\.second \{ display: none; \}", html)
