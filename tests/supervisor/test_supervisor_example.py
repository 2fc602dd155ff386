"""examples/custom_supervisor does what its text says."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_supervisor" / "hash_files.py"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(12):
        (folder / f"file{number}").write_bytes(os.urandom(1000))
    return folder


def expected(path):
    return hashlib.scrypt(path.read_bytes(), salt=path.name.encode(), n=2**14, r=8, p=1, dklen=16).hex()


def check(folder, output):
    sums = {}
    for line in output.splitlines():
        digest, name = line.split("  ")
        assert sums.setdefault(name, digest) == digest  # a share that was done again gives the same
    assert sums == {path.name: expected(path) for path in folder.iterdir()}


def test_it_hashes_every_file(folder):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(folder), "3"], capture_output=True, text=True, timeout=100
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(folder, done.stdout)


def test_a_node_that_is_killed_half_way_does_its_share_again(folder):
    log = folder.with_name("errors")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(folder), "2"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        rest = process.stdout.read()  # communicate() would pass over what readline() has read ahead
        process.wait(100)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == 0, log.read_text()
    assert "killed by SIGKILL" in log.read_text()
    check(folder, first + rest)


def test_it_says_what_it_wants():
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "usage: hash_files.py FOLDER" in done.stderr


def test_it_is_as_short_as_it_is_said_to_be():
    assert len(EXAMPLE.read_text().splitlines()) < 60
