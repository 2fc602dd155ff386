"""The version that swarm_info tells of an application."""

import sys
from types import ModuleType

import pytest

from swarm_cli.composition import application_version


def test_the_packages_own_version_wins(monkeypatch):
    module = ModuleType("shop")
    module.__version__ = "4.2"
    monkeypatch.setitem(sys.modules, "shop", module)
    assert application_version("shop.orders:app") == "4.2"


@pytest.mark.parametrize("told", [None, 3])
def test_else_the_distribution_of_that_name_and_else_nothing(monkeypatch, told):
    module = ModuleType("msgspec")
    module.__version__ = told
    monkeypatch.setitem(sys.modules, "msgspec", module)
    assert application_version("msgspec:app")
    assert application_version("no_such_package_anywhere:app") == ""
