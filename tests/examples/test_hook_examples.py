"""The examples of docs/hooks.md run: each on messages in memory, against a database or a server on this machine."""

import gzip
import importlib.util
import json
import logging
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from swarm_consumer import LifespanError, NodeInfo
from swarm_consumer.testing import run_messages
from tests.examples.fake_servers import FakePostgres, http_server

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ORDERS = [{"number": 1, "total": 2.5}, {"number": 2, "total": 4.0}]


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def test_sqlalchemy_writes_each_order_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sa = pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    module = example("hook_sqlalchemy")
    engine = sa.create_engine(url)
    module.metadata.create_all(engine)
    for _ in range(2):  # everything comes twice
        run_messages(module.app, {"orders": ORDERS})
    with engine.connect() as connection:
        assert connection.execute(sa.select(module.orders).order_by("number")).all() == [(1, 2.5), (2, 4.0)]
    engine.dispose()


def test_a_pool_of_psycopg_writes_a_batch_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg_pool")
    server = FakePostgres()
    monkeypatch.setenv("DATABASE_URL", server.url)
    try:
        run_messages(example("hook_psycopg").app, {"orders": ORDERS})
    finally:
        server.close()
    statements = [statement.split()[0] for statement, _ in server.statements]
    assert statements[0] == "BEGIN"
    assert statements[-1] == "COMMIT"
    assert statements.count("INSERT") == 2
    numbers = [values[0] for statement, values in server.statements if statement.startswith("INSERT")]
    assert [struct.unpack("!h", value)[0] for value in numbers if value is not None] == [1, 2]


def test_a_pool_without_a_database_ends_the_node_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg_pool")
    module = example("hook_psycopg")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@127.0.0.1:1/shop")
    monkeypatch.setattr(module.ConnectionPool, "wait", lambda self, timeout: _no_database())
    with pytest.raises(
        LifespanError, match=r"the lifespan pool \(.*hook_psycopg\.py:\d+\) failed at its start: .*no data"
    ):
        run_messages(module.app, {"orders": ORDERS})


def _no_database() -> None:
    raise TimeoutError("no database")


def test_an_async_client_of_httpx_posts_each_order(monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    with http_server() as (address, posted):
        monkeypatch.setenv("PRICES_URL", f"http://{address}")
        run_messages(example("hook_httpx").app, {"orders": ORDERS})
    assert {path for path, _ in posted} == {"/orders"}
    assert sorted((json.loads(body) for _, body in posted), key=lambda order: order["number"]) == ORDERS
    with http_server(status=503) as (address, posted):
        monkeypatch.setenv("PRICES_URL", f"http://{address}")
        with pytest.raises(httpx.HTTPStatusError, match="503"):
            run_messages(example("hook_httpx").app, {"orders": ORDERS})


def test_the_log_has_every_line_with_the_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.setenv("AUDIT_LOG", str(log))
    module = example("hook_logging")
    run_messages(module.app, {"orders": [b"%d" % number for number in range(100)]})
    lines = log.read_text().splitlines()
    assert [line.partition(" node None ")[2] for line in lines] == [f"order {b'%d' % number}" for number in range(100)]
    assert module.logger.handlers == []


SENTRY = """
import sys
import hook_sentry
from swarm_consumer import DeadLetters
from swarm_consumer.testing import run_messages
try:
    run_messages(hook_sentry.app, {"orders": [b"1", b""]}, attempts=3)
except ValueError:
    sys.exit(0)
sys.exit("the batch did not fail")
"""


def test_sentry_is_told_once_of_a_failing_batch() -> None:
    pytest.importorskip("sentry_sdk")
    with http_server() as (address, posted):
        done = subprocess.run(
            [sys.executable, "-c", SENTRY],
            cwd=EXAMPLES,
            env={"PATH": "", "SENTRY_DSN": f"http://key@{address}/1", "PYTHONPATH": str(EXAMPLES)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    bodies = [gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for path, body in posted]
    events = [body for body in bodies if b"an empty order" in body]
    assert len(events) == 1
    assert b'"topic":"orders"' in events[0].replace(b": ", b":")
    assert b'"node":"None"' in events[0].replace(b": ", b":")


def test_the_table_is_loaded_once_and_deaths_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "prices.csv").write_text("apple,0.5\npear,0.75\n")
    monkeypatch.setenv("PRICES", str(tmp_path / "prices.csv"))
    module = example("hook_swarm")
    caplog.set_level(logging.INFO, "shop")
    run_messages(module.app, {"orders": [b"apple", b"pear"]})
    assert module.prices == {"apple": 0.5, "pear": 0.75}
    assert [hook.event for hook in module.app.hooks.swarm] == ["NodeExited", "CrashLoop"]
    caplog.clear()
    for planned in (True, False):
        event: Any = type("Event", (), {"planned": planned, "__str__": lambda self: "node 1 died"})()
        module.report(event)
    assert [record.getMessage() for record in caplog.records] == ["page the operator: node 1 died"]


def test_every_example_of_the_page_takes_the_node() -> None:
    for path in sorted(EXAMPLES.glob("hook_*.py")):
        if "@app.lifespan" in path.read_text():
            assert f"node: {NodeInfo.__name__}" in path.read_text(), path.name
