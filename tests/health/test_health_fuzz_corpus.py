"""The fuzzer's property over its corpus, and over what hypothesis finds."""

import importlib.util
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm_health import Healthy, NodeStatistics, PartitionStatistics, Ready, Stopping, Unhealthy
from swarm_health._framing import MARK, encode_frame
from swarm_health._wire import encode, encode_statistics

FUZZ = pathlib.Path(__file__).with_name("fuzz")
CORPUS = sorted((FUZZ / "corpus").iterdir())


@pytest.fixture(scope="module")
def check():
    """Return the property of fuzz_check.py, which is no package: the fuzzer starts beside it."""
    spec = importlib.util.spec_from_file_location("swarm_health_fuzz_check", FUZZ / "fuzz_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check


def test_there_is_a_corpus():
    assert len(CORPUS) >= 10
    assert sum(path.stat().st_size for path in CORPUS) < 1_000_000


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name[:12])
def test_the_corpus(check, path):
    check(path.read_bytes())


frames = st.sampled_from(
    [
        encode_frame(payload)
        for payload in (
            encode(Healthy(), 0),
            encode(Ready(), 2**40),
            encode(Unhealthy(3, "memory"), 1),
            encode(Stopping("x" * 300), 0),
            *encode_statistics(NodeStatistics(state="running", extra={"a": 1.5}), 1, 0),
            *encode_statistics(
                NodeStatistics(partitions=[PartitionStatistics("t" * 30, n, lag=n) for n in range(90)]), 2, 3
            ),
        )
    ]
)
cut_frames = st.tuples(frames, st.integers(0, 5000)).map(lambda drawn: drawn[0][: drawn[1] % len(drawn[0])])
spoiled_frames = st.tuples(frames, st.integers(0, 5000), st.binary(min_size=1, max_size=4)).map(
    lambda drawn: drawn[0][: drawn[1] % len(drawn[0])] + drawn[2] + drawn[0][drawn[1] % len(drawn[0]) + len(drawn[2]) :]
)
streams = st.lists(st.one_of(frames, cut_frames, spoiled_frames, st.binary(max_size=30), st.just(MARK)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 255), streams)
def test_whole_torn_and_spoiled_reports_in_any_mixture(check, size, pieces):
    check(bytes([size]) + b"".join(pieces))
