"""The lint for words finds a planted phrase in every place that a user reads, and nothing in the repository."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def words() -> ModuleType:
    specification = importlib.util.spec_from_file_location("words", ROOT / ".ci" / "words.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("packages/cli/src/swarm_cli/x.py", 'raise ValueError("nobody answers")\n'),
        ("packages/cli/src/swarm_cli/x.py", 'def f(name):\n    print(f"node {name} ended by itself")\n'),
        ("packages/cli/src/swarm_cli/commands/x.py", 'def top():\n    """Stop after so long."""\n'),
        ("docs/x.md", "# X\n\nWhoever reads this goes on.\n"),
        ("docs/upstream/x.md", "The node waits so\nlong.\n"),
        ("packages/cli/src/swarm_cli/x.py", '"""Tools.\n\nThey wait, by\nitself.\n"""\n'),
        ("packages/cli/src/swarm_cli/x.py", "f = 1  # for whoever asks\n"),
        ("packages/cli/src/swarm_cli/x.py", "# This is for those\n# who ask.\nf = 1\n"),
        ("packages/cli/src/swarm_cli/x.py", 'say("the swarm " "goes " f"on, node {1}")\n'),
        ("packages/liveness/src/swarm_liveness/x.py", 'BODY = b"nobody is here"\n'),
        ("packages/liveness/src/swarm_liveness/page.html", "<p>The swarm goes on.</p>\n"),
        ("packages/cli/src/swarm_cli/templates/app.py.template", "# Nobody needs this.\n"),
        ("examples/x.py", 'print("so many nodes")\n'),
        ("deploy/alerts.yaml", "description: it ended by itself\n"),
        ("packages/cli/README.md", "`swarm-cli status` tells the pid.\n"),
    ],
)
def test_a_planted_phrase_is_found_with_its_place_and_the_reason(
    words: ModuleType, tmp_path: Path, file: str, text: str
) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    first, *_ = words.findings(tmp_path)
    assert first.startswith(f"{file}:")
    assert int(first.split(":")[1]) <= text.count("\n")
    assert "say" in first or "name" in first.lower()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("packages/cli/src/swarm_cli/x.py", "nobody = of(tells)\n"),
        ("benchmarks/x.py", '"""Nobody sees this but a reader of the source."""\n'),
        ("CHANGELOG.md", "Nobody.\n"),
        ("docs/x.md", "Text.\n\n```python\nnobody = 1\n```\n"),
        ("docs/x.md", "It runs as long as the supervisor, and so long as it is healthy.\n"),
    ],
)
def test_what_no_user_reads_and_what_is_meant_is_left_alone(
    words: ModuleType, tmp_path: Path, file: str, text: str
) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    assert list(words.findings(tmp_path)) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tests/x.py", "# Nobody is to\n# {} blamed.\n".format("be")),
        ("docs/x.md", "> A command that begins\n> something {}.\n".format("waits")),
        ("CHANGELOG.md", "Look so {}.\n".format("often")),
        (".github/x.yaml", "# no line is lost or twice {}\n".format("there")),
    ],
)
def test_a_sentence_that_must_not_return_is_found_anywhere(
    words: ModuleType, tmp_path: Path, file: str, text: str
) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    assert any(line.endswith("say it plainly") for line in words.findings(tmp_path))


def test_each_sentence_is_cut_so_that_a_search_does_not_find_the_list(words: ModuleType) -> None:
    assert all(" | " in phrase for phrase in words.PHRASES)


def test_the_repository_has_none_of_them(words: ModuleType) -> None:
    assert list(words.findings(ROOT)) == []


def test_each_turn_comes_with_a_reason(words: ModuleType) -> None:
    assert all(len(why) > 10 for why in words.BANNED.values())
