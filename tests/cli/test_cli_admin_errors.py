"""Errors of administration: each kind has its advice on the command line, and its exit code."""

from typing import get_args

import pytest

from swarm_cli.errors import ADVICE, sentence
from swarm_consumer.errors import AdminError, AdminErrorKind


def test_every_kind_has_its_advice() -> None:
    assert ADVICE.keys() == set(get_args(AdminErrorKind))


@pytest.mark.parametrize("kind", get_args(AdminErrorKind))
def test_each_is_its_sentence_with_what_to_do(kind: AdminErrorKind) -> None:
    advice, code = ADVICE[kind]
    said = sentence(AdminError("it failed.", kind))
    assert said == (f"it failed. {advice}".rstrip(), code)


def test_what_the_user_asked_wrongly_is_2() -> None:
    assert {kind for kind, (_, code) in ADVICE.items() if code == 2} == {"no-servers", "no-topic", "position"}
