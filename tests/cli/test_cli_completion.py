"""Shell completion: what a shell asks and gets; with bash itself, as --install-completion leaves it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "swarm-cli"


def run(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("swarm-cli top", ["top", "topics"]),
        ("swarm-cli topics re", ["repartition"]),
        ("swarm-cli groups ", ["seek", "reset"]),
        ("swarm-cli swarm --include-t", ["--include-topics"]),
        ("swarm-cli server my_app:app --log-format ", ["text", "json", "app"]),
        ("swarm-cli swarm --log-level w", ["warning"]),
        ("swarm-cli swarm --nodes a", ["auto"]),
        ("swarm-cli swarm --memory-metric r", ["rss"]),
        ("swarm-cli broker --fau", ["--fault"]),
        ("swarm-cli stop --bogus", []),
    ],
)
def test_a_shell_is_offered_what_fits(line: str, offered: list[str]) -> None:
    words = line.split(" ")
    answer = run(PROGRAM, _SWARM_CLI_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )  # fmt: skip
    assert answer.split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_and_an_answer(shell: str) -> None:
    script = run(PROGRAM, _SWARM_CLI_COMPLETE=f"source_{shell}")
    assert f"complete_{shell}" in script
    asked = {"_TYPER_COMPLETE_ARGS": "swarm-cli topics del", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "delete" in run(PROGRAM, _SWARM_CLI_COMPLETE=f"complete_{shell}", **asked)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_once_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n")
    environment = {"HOME": str(tmp_path), "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    # Which shell it is, the program finds out from its parent: one that waits for it, as a terminal's does.
    installed = run("bash", "--norc", "-c", "swarm-cli --install-completion; echo $?", **environment)
    assert "bash completion installed" in installed
    assert (tmp_path / ".bashrc").read_text().startswith("# mine\n")
    # What bash does at the Tab key: it calls the function that `complete` has registered.
    script = """
        source ~/.bashrc
        COMP_WORDS=(swarm-cli topics pl); COMP_CWORD=2
        function=$(complete -p swarm-cli | sed -E 's/.*-F ([^ ]+).*/\\1/')
        $function swarm-cli
        echo "${COMPREPLY[@]}"
    """
    assert run("bash", "--norc", "-c", script, **environment).split() == ["plan"]
