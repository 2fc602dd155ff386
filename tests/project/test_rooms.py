"""The checks of rooms find what they are there to find."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def _tool(name: str) -> Any:
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = tool = module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(tool)
    return tool


wings: Any = _tool("wings")
pure: Any = _tool("pure")


CONSUMER = "packages/consumer/src/swarm_consumer"


def _tree(root: Path, files: dict[str, str]) -> None:
    """Empty packages, and these files."""
    for package in wings.PACKAGES:
        (root / "packages" / package / "src" / f"swarm_{package}").mkdir(parents=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("from swarm_health import _wire", "swarm_health._wire"),
        ("from swarm_health._wire import encode", "swarm_health._wire.encode"),
        ("from swarm_health.pipe import _frame", "swarm_health.pipe._frame"),
        ("import swarm_health._wire", "swarm_health._wire"),
        ("import swarm_health\nswarm_health._wire.encode()", "swarm_health._wire"),
        ("import swarm_health.pipe as p\np._frame()", "swarm_health.pipe._frame"),
        ("from swarm_health import pipe\ndef f():\n    return pipe._frame", "swarm_health.pipe._frame"),
        ("from swarm_health import Writer\nWriter._write", "swarm_health.Writer._write"),
    ],
)
@pytest.mark.parametrize("where", ["packages/cli/src/swarm_cli/one.py", "examples/one.py", "benchmarks/one.py"])
def test_a_private_name_of_another_package_is_found(
    code: str, used: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wings, "ROOT", tmp_path)
    _tree(tmp_path, {where: code})
    found = list(wings.private_uses())
    assert len(found) == 1, found
    assert f": uses {used}, which is private to swarm_health" in found[0]


def test_what_is_public_and_what_is_its_own_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wings, "ROOT", tmp_path)
    _tree(
        tmp_path,
        {
            "packages/health/src/swarm_health/pipe.py": "from swarm_health._wire import _encode",
            "packages/cli/src/swarm_cli/one.py": "import swarm_health\nswarm_health.__path__\nx._y = swarm_health.pipe",
            "benchmarks/histories/one.py": "from swarm_health import _wire",
        },
    )
    assert list(wings.private_uses()) == []


def test_circles_and_too_many_arrows_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wings, "ROOT", tmp_path)
    _tree(
        tmp_path,
        {
            f"{CONSUMER}/_a/one.py": "import swarm_consumer._b.two",
            f"{CONSUMER}/_b/two.py": "import swarm_consumer.errors",
            f"{CONSUMER}/_b/three.py": "import swarm_consumer._a.four",
            f"{CONSUMER}/_a/four.py": "",
            f"{CONSUMER}/errors.py": "",
        },
    )
    (found,) = wings.problems(wings.read())
    assert found.startswith("these rooms import each other: swarm_consumer._")
    (tmp_path / CONSUMER / "_b" / "three.py").unlink()
    assert list(wings.problems(wings.read())) == []
    monkeypatch.setattr(wings, "LIMITS", {"swarm_consumer": (3, 1)})
    (found,) = wings.problems(wings.read())
    assert found.startswith("swarm_consumer has 2 arrows, 1 at most")


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("import time", "time"),
        ("def f():\n    from threading import Lock", "threading.Lock"),
        ("import confluent_kafka", "confluent_kafka"),
        ("from swarm_consumer.kafka import redaction", "swarm_consumer.kafka.redaction"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import confluent_kafka\n", None),
        ("import itertools", None),
    ],
)
def test_what_a_pure_room_must_not_import_is_found(
    code: str, bad: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pure, "ROOT", tmp_path)
    monkeypatch.setattr(pure, "ROOMS", [room for room in pure.ROOMS if room.package == "swarm_consumer"])
    _tree(tmp_path, {f"{CONSUMER}/_scheduling/one.py": code})
    found = [problem.partition(": imports ")[2] for problem in pure.problems()]
    assert found == ([] if bad is None else [f"{bad}, and decisions are pure"])
