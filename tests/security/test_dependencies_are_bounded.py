"""Every dependency of every package has a range, and a line that says what it is for."""

import re
import tomllib
from pathlib import Path

import pytest

PACKAGES = sorted((Path(__file__).resolve().parents[2] / "packages").glob("*/pyproject.toml"))
BOUNDED = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?>=\d+(\.\d+)*,<\d+(\.\d+)*$")


def requirements(path):
    project = tomllib.loads(path.read_text())["project"]
    found = list(project["dependencies"])
    for extra in project.get("optional-dependencies", {}).values():
        found += extra
    return found


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_each_has_a_lower_and_an_upper_bound(path):
    unbounded = [each for each in requirements(path) if not BOUNDED.match(each)]
    assert not unbounded, f"no range name>=x,<y: {unbounded}"


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_each_says_what_it_is_for(path):
    lines = path.read_text().splitlines()
    for requirement in requirements(path):
        if not requirement.startswith("swarm-"):
            (line,) = [each for each in lines if f'"{requirement}"' in each]
            assert "#" in line, f"{requirement} has no reason beside it"


def test_the_packages_agree_on_their_ranges():
    """An extra may ask for a newer one, within the same upper bound."""
    ranges, uppers = {}, {}
    for path in PACKAGES:
        project = tomllib.loads(path.read_text())["project"]
        for requirement in requirements(path):
            name = re.split(r"[\[>]", requirement, maxsplit=1)[0]
            bounds = requirement.partition(">=")[2]
            uppers.setdefault(name, set()).add(bounds.partition(",")[2])
            if requirement in project["dependencies"]:
                ranges.setdefault(name, set()).add(bounds)
    assert len(PACKAGES) == 6
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}
    assert {name: found for name, found in uppers.items() if len(found) > 1} == {}
