"""Every setting of the command line is checked: each is fed with wrong values, none of which may be taken."""

import dataclasses
import signal
import typing
from collections.abc import Iterator

import pytest

from swarm_cli.configuration import option_name
from swarm_cli.main import main
from swarm_cli.settings import Settings

KINDS = {
    name: annotation.__origin__ for name, annotation in typing.get_type_hints(Settings, include_extras=True).items()
}
TEXTS = {
    "bootstrap_servers", "group_instance_id", "kafka", "include_topics", "exclude_topics", "include_consumer_groups",
    "exclude_consumer_groups", "include_subscription_groups", "exclude_subscription_groups", "control", "probe",
    "progress_memory",
}  # fmt: skip
"""Any text may be one: what they name is looked for later; the address of the probe where it is bound, and the file
of the progress memory where it is made (test_progress_memory_option)."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The entry point of the program ignores USR2, which the rest of this process must not."""
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


def wrong(name: str) -> list[str]:
    """Values that the setting cannot have."""
    kind = str(KINDS[name])
    if "bool" in kind:
        return []  # a flag takes no value
    values = ["wrong", "1x", "-1", "nan", "inf", "1e400"]
    return values if "float" in kind or "int" in kind else ["wrong\0", "no such", "1x"]


CASES = [
    pytest.param(field.name, value, id=f"{field.name}={value!r}")
    for field in dataclasses.fields(Settings)
    if field.name not in TEXTS
    for value in wrong(field.name)
]


def test_what_is_any_text_is_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} >= TEXTS


@pytest.mark.parametrize("command", ["swarm", "server"])
@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(
    command: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["swarm-cli", command, "no_such_module_at_all:app", f"{option_name(name)}={value}"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert option_name(name) in said, said
    assert "no_such_module_at_all" not in said, f"{name}={value!r} was taken"
    assert said.count("\n") == 1, said
