"""APP: what loads, and the one sentence for each way in which it does not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm_cli.errors import UsageError
from swarm_cli.loading import load_app

APP = "from swarm_consumer import App\napp = App('orders', kafka={'bootstrap.servers': 'localhost:1'})\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_an_app_of_the_working_directory_loads(folder: Path) -> None:
    (folder / "loaded_app.py").write_text(APP)
    assert load_app("loaded_app:app").client_id == "orders"
    assert load_app("loaded_app").client_id == "orders"


@pytest.mark.parametrize(
    ("source", "reference", "says"),
    [
        (None, "nowhere_to_be_found:app", "there is no module 'nowhere_to_be_found'"),
        (None, "nowhere_to_be_found.inner:app", "there is no module 'nowhere_to_be_found'"),
        ("import nothing_like_it\n", "broken_a:app", "it needs 'nothing_like_it', which is not installed"),
        ("raise RuntimeError('no\\nlicence')\n", "broken_b:app", "RuntimeError: no licence, at "),
        ("def broken(:\n", "broken_c:app", "SyntaxError: "),
        (APP.replace("app =", "application ="), "broken_d:app", "did you mean broken_d:application?"),
        ("x = 1\n", "broken_e:app", "no swarm_consumer.App under another name"),
        ("app = 1\n", "broken_f:app", "is of type int, not swarm_consumer.App"),
        (None, "folder/app.py", "must be written as module:attribute"),
        (None, "app.py", "must be written as module:attribute"),
    ],
)
def test_each_failure_is_one_sentence_with_its_cause(
    folder: Path, source: str | None, reference: str, says: str
) -> None:
    if source is not None:
        (folder / f"{reference.partition(':')[0]}.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        load_app(reference)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            f"{APP}\n\n@app.consume('orders', max_mesages=5)\ndef handle(messages): ...\n",
            "shop.py:5: topic 'orders': unknown setting 'max_mesages'; did you mean 'max_messages'?",
        ),
        (
            f"{APP}\n\n@app.consume('orders')\ndef handle(messages):\n    yield messages\n",
            "shop.py:5: the handler handle (shop.py:5) contains yield",
        ),
        (f"{APP}\napp.nothing_like_it()\n", "no_attribute"),
        (f"{APP}\nimport json\njson.loads('{{')\n", "at shop.py:5"),
    ],
)
def test_a_mistake_in_a_declaration_is_told_at_the_line_of_the_application(
    folder: Path, source: str, says: str
) -> None:
    (folder / "shop.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        load_app("shop:app")
    sentence = str(caught.value)
    if says == "no_attribute":
        says = "AttributeError: 'App' object has no attribute 'nothing_like_it', at shop.py:4"
    assert says in sentence
    assert "swarm_consumer/" not in sentence, "the place is the library's, not the application's"
    assert "\n" not in sentence
