"""Every target of the fuzzer over its corpus, where found bugs are kept, and over mutations of it."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def _driver():
    specification = importlib.util.spec_from_file_location("swarm_fuzz_driver", ROOT / ".ci" / "fuzz.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


DRIVER = _driver()
SEEDS = {name: sorted(seeds.iterdir()) for name, (_, seeds) in DRIVER.TARGETS.items()}


@pytest.fixture(scope="module", params=sorted(DRIVER.TARGETS))
def target(request):
    return request.param


@pytest.fixture(scope="module")
def check(target):
    return DRIVER.loaded(DRIVER.TARGETS[target][0]).check


def test_there_are_seeds_and_they_are_small(target):
    assert SEEDS[target]
    assert sum(path.stat().st_size for paths in SEEDS.values() for path in paths) < 100_000


def test_the_corpus(target, check):
    for path in SEEDS[target]:
        try:
            check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.relative_to(ROOT)} breaks it again") from error


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
def test_mutations_of_the_corpus(target, check, chance):
    check(DRIVER.mutated(chance, [path.read_bytes() for path in SEEDS[target]]))


def test_a_broken_promise_is_found(tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "one").write_bytes(b"harmless")
    (tmp_path / "toy.py").write_text("PACKAGES = []\ndef check(data):\n    assert len(data) < 10, 'too long'\n")
    with pytest.raises(AssertionError, match="too long"):
        DRIVER.run_blind(tmp_path / "toy.py", seeds, 30.0)
