"""`init`: what it writes, under which names, and that it never overwrites."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swarm_cli.errors import CommandError, UsageError
from swarm_cli.project import project, write_project


@pytest.mark.parametrize(
    ("name", "package", "distribution"),
    [
        ("orders", "orders", "orders"),
        ("order-totals", "order_totals", "order-totals"),
        ("Order Totals", "order_totals", "order-totals"),
        ("order.totals2", "order_totals2", "order-totals2"),
    ],
)
def test_names_follow_from_the_folders(name: str, package: str, distribution: str) -> None:
    made = project(name)
    assert made.package == package
    pyproject = tomllib.loads(made.files["pyproject.toml"])
    assert pyproject["project"]["name"] == distribution
    assert pyproject["tool"]["swarm"]["app"] == f"{package}.app:app"
    assert f"{package}/app.py" in made.files
    for path, text in made.files.items():
        assert not any(placeholder in text for placeholder in ("PROJECT", "DISTRIBUTION", "VERSION"))
        if path.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize(
    "name", ["", "1orders", "class", "orders!", "tests", "swarm-cli", "../orders", "x" * 61, "größe"]
)
def test_a_name_that_cannot_be_a_packages_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a project name"):
        write_project(tmp_path / "folder", name)
    assert not (tmp_path / "folder").exists()


def test_nothing_is_overwritten_and_nothing_written_beside_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("mine")
    with pytest.raises(UsageError, match="Dockerfile already exists"):
        write_project(tmp_path, "orders", into_existing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["Dockerfile"]
    assert (tmp_path / "Dockerfile").read_text() == "mine"


@pytest.mark.parametrize("there", ["shop.py", "main.py", "src/x.py"])
def test_a_folder_with_files_is_refused_unless_forced(tmp_path: Path, there: str) -> None:
    """`init .` used to write nine files between the code of a project."""
    folder = tmp_path / "store"
    (folder / there).parent.mkdir(parents=True)
    (folder / there).write_text("")
    with pytest.raises(UsageError, match=r"already has files .*--force"):
        write_project(folder, None)
    assert len(list(folder.iterdir())) == 1
    assert write_project(folder, None, into_existing=True).package == "store"


def test_a_package_that_would_hide_a_module_is_refused_also_when_forced(tmp_path: Path) -> None:
    """`swarm-cli swarm shop:app` said "module 'shop' has no attribute 'app'" after such an init."""
    (tmp_path / "shop.py").write_text("app = 1")
    for forced in (False, True):
        with pytest.raises(UsageError, match=r"shop\.py would be hidden by the package shop"):
            write_project(tmp_path, "shop", into_existing=forced)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.py"]


def test_what_comes_before_the_code_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "LICENSE").write_text("")
    assert write_project(tmp_path, "orders").package == "orders"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written"):
        write_project(tmp_path / "file", "orders")


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "init", "order-totals"],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cd order-totals" in done.stdout
    assert (tmp_path / "order-totals" / "order_totals" / "app.py").exists()
    again = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "init", "order-totals"],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    named = subprocess.run(
        [sys.executable, "-m", "swarm_cli", "init", ".", "--name", "order totals", "--force"],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert named.returncode == 0, named.stderr
    assert (tmp_path / "order_totals" / "app.py").exists()
    assert str(tmp_path) in named.stdout
    assert " cd " not in named.stdout, "it is in this folder"


@pytest.mark.parametrize("name", ["msgspec", "json", "tests"])
def test_the_name_of_a_module_that_there_is_is_refused(tmp_path: Path, name: str) -> None:
    """`init msgspec` wrote a project whose own tests failed: its package hid the real one."""
    with pytest.raises(UsageError, match=f"a module '{name}' already exists"):
        write_project(tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


def test_the_user_of_the_image_is_a_number() -> None:
    """Of a name the kubelet cannot tell that it is not root: runAsNonRoot would keep the pod from starting."""
    (user,) = [line for line in project("shop-one").files["Dockerfile"].splitlines() if line.startswith("USER")]
    assert user.removeprefix("USER ").isdigit()
