"""Help that fits a screen, starts quickly and says how to use a command; errors of one sentence."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
import typer

from swarm_cli.main import program

SCREEN = 52
"""Lines of a terminal that is not small; the commands with all settings need them."""
WIDE = {"swarm", "server", "info"}


def every_command(command: Any = None, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, the groups and the program itself included."""
    command = typer.main.get_command(program) if command is None else command
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, *words, name)


COMMANDS = list(every_command())


def shown(*words: str, columns: int = 80) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "swarm_cli", *words],
        env={"COLUMNS": str(columns), "PATH": ""}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_a_screen_and_has_an_example(words: tuple[str, ...]) -> None:
    done = shown(*words, "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= (SCREEN if not words or words[0] in WIDE else 40)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines[1:] if line.endswith("...")], "a sentence is cut"
    named = f"Example: swarm-cli {' '.join(words)}"
    assert words in (("topics",), ("groups",)) or named.rstrip() in " ".join(done.stdout.split())


def test_help_all_has_the_rare_options_too() -> None:
    few, all_ = shown("swarm", "--help").stdout, shown("swarm", "--help-all").stdout
    assert "--boot-timeout" not in few
    assert "--boot-timeout SECONDS" in all_
    assert len(all_.splitlines()) > len(few.splitlines())


@pytest.mark.parametrize("words", [["swarm", "nowhere:app"], ["info", "nowhere:app", "--json"]], ids=" ".join)
def test_a_traceback_is_there_with_debug_alone(words: list[str]) -> None:
    quiet = shown(*words)
    assert (quiet.returncode, quiet.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in quiet.stderr
    for loud in (shown("--debug", *words), shown(*words, "--debug")):
        assert loud.returncode == 1
        assert "Traceback" in loud.stderr


BROKEN = """
import sys
import swarm_cli.views.info as view
from swarm_cli.main import main
def broken(*_):
    raise KeyError("x")
view.versions = broken
sys.argv = ["swarm-cli", "info", *sys.argv[1:]]
main()
"""


def test_an_error_that_nobody_expected_is_one_sentence_too() -> None:
    told, raised = (
        subprocess.run([sys.executable, "-c", BROKEN, *more], capture_output=True, text=True, timeout=60, check=False)
        for more in ([], ["--debug"])
    )
    assert told.returncode == raised.returncode == 1
    assert told.stderr.startswith("swarm-cli: unexpected KeyError: 'x' at <string>:6: repeat the command with --debug")
    assert told.stderr.count("\n") == 1
    assert "Traceback" in raised.stderr


def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "swarm_cli", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)


def cpu_s(*words: str) -> float:
    """CPU time of one process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=" ".join)
def test_it_starts_within_two_and_a_half_imports_of_typer(words: list[str]) -> None:
    # The least of several, in turn: neighbours on the machine cost both sides CPU time, by cold caches.
    ours, typers = [], []
    for _ in range(12):
        ours.append(cpu_s("-m", "swarm_cli", *words))
        typers.append(cpu_s("-c", "import typer"))
        if len(ours) > 3 and min(ours) <= 2.5 * min(typers):
            return
    pytest.fail(f"{min(ours) * 1000:.0f} ms against {min(typers) * 1000:.0f} ms of `import typer`")


def test_neither_help_nor_version_imports_what_is_heavy() -> None:
    heavy = {"confluent_kafka", "psutil", "rich", "swarm_supervisor", "swarm_consumer", "swarm_liveness", "msgspec"}
    if tuple(map(int, metadata.version("typer").split(".")[:2])) < (0, 16):
        heavy.discard("rich")  # it imports that itself to show help
    probe = (
        "import sys\nfrom swarm_cli.main import program\n"
        "for words in (['--help'], ['--version'], ['swarm', '--help'], ['top', '--help']):\n"
        "    try:\n        program(words)\n    except SystemExit as end:\n        assert not end.code\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_the_help_of_server_hides_what_has_no_effect_in_one_process(option: str) -> None:
    told = shown("server", option).stdout
    assert "--drain-timeout" in told
    for name in ("--nodes", "--preload", "--boot-timeout", "--max-unavailable", "--shutdown-timeout", "--control"):
        assert f"  {name} " not in told
        assert f"  {name}," not in told
    assert "--nodes" in shown("swarm", option).stdout


def test_required_options_and_the_values_of_a_choice_are_shown() -> None:
    told = shown("groups", "seek").stdout + shown("groups", "seek", "--help").stdout
    assert told.count("Required.") == 2
    assert "--check live|ready" in shown("status", "--help").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "--check", "liv"], "invalid value for '--check': 'liv' is not one of 'live', 'ready'"),
        (["server", "x:app", "--memory-limit", "150XB"], "'150XB' has no unit of memory: give kB, MB, GB or TB"),
        (["swarm", "x:app", "--drain-timeout", "soon"], "'soon' is not a valid amount: give seconds as a number"),
        (["swarm", "shop.py:app"], "not 'shop.py:app': did you mean shop:app?"),
        (["swarm", "./src/shop.py"], "did you mean src.shop:app?"),
        (["swarm", "../shop.py:main"], "like my_app:app."),
    ],
)
def test_a_wrong_value_is_one_plain_sentence(words: list[str], says: str) -> None:
    done = shown(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Value error" not in done.stderr


def test_a_command_imports_no_module_of_another_command():
    """A supervisor lives for weeks: the options of the other commands cost it start-up time and memory."""
    code = (
        "import sys\nfrom swarm_cli.main import main\nsys.argv = ['swarm-cli', '--debug', 'stop', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print(sorted(name for name in sys.modules if name.startswith('swarm_cli.commands.')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "['swarm_cli.commands.stop']", ran.stderr


def test_the_shell_is_offered_every_command():
    asked = {"_SWARM_CLI_COMPLETE": "complete_bash", "COMP_WORDS": "swarm-cli st", "COMP_CWORD": "1"}
    environment = {**os.environ, **asked}
    ran = subprocess.run(
        [sys.executable, "-m", "swarm_cli"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split() == ["status", "stop"]
