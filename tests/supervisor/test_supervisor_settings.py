"""Settings: what is refused, and how."""

import os
import subprocess
import sys
import typing

import pytest

from swarm_supervisor import Settings, SettingsError, Supervisor
from swarm_supervisor.settings import SettingsKeywords


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"nodes": 0}, 'nodes must be "auto" or a whole number of at least 1, not 0'),
        ({"nodes": True}, 'nodes must be "auto"'),
        ({"nodes": "many"}, "not 'many'"),
        ({"nodes": 1.5}, "not 1.5"),
        ({"liveness_interval": 0}, "liveness_interval must be more than 0 seconds, not 0"),
        ({"boot_timeout": -1}, "boot_timeout must be more than 0 seconds, not -1"),
        ({"boot_timeout": float("nan")}, "boot_timeout must be a number of seconds"),
        ({"shutdown_timeout": "60"}, "shutdown_timeout must be a number of seconds, not '60'"),
        ({"shutdown_grace": -0.1}, "shutdown_grace must be at least 0 seconds"),
        ({"max_restarts": 0}, "max_restarts must be a whole number of at least 1"),
        ({"max_unavailable": 0}, "max_unavailable must be a whole number of at least 1"),
        ({"restart": "sometimes"}, "restart must be one of always, on-failure, never, not 'sometimes'"),
        ({"on_crash_loop": "panic"}, "on_crash_loop must be one of degrade, exit"),
        ({"threads": "kill"}, "threads must be one of warn, refuse, ignore"),
        ({"name": ""}, "name must be a printable text"),
        ({"control_socket": 5}, "control_socket must be a path, not 5"),
        (
            {"node_report_timeout": 15},
            "node_report_timeout (15 s) must be at least twice liveness_interval (10 s): it is 5 s too short",
        ),
        (
            {"node_restart_delay": 90},
            "restart_delay_max (60 s) must not be below node_restart_delay (90 s): it is 30 s too short",
        ),
        ({"restart_window": 3}, "restart_window (3 s) must be longer than node_restart_delay (5 s)"),
        ({"node_restart_dealy": 3}, "there is no setting 'node_restart_dealy': did you mean node_restart_delay?"),
        ({"zzz": 3}, "there is no setting 'zzz': there are nodes, name,"),
    ],
)
def test_a_bad_setting_is_refused_with_one_sentence(settings, sentence):
    with pytest.raises(SettingsError) as refused:
        Supervisor(lambda node: 0, **settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_target_that_cannot_be_called_is_refused():
    with pytest.raises(SettingsError, match="the target must be callable"):
        Supervisor(5)


def test_more_nodes_than_there_are_descriptors_for_are_refused_before_any_fork():
    code = """
import os, resource
from swarm_supervisor import SettingsError, Supervisor
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(os.environ["HELD"]))]
try:
    Supervisor(lambda node: 125, nodes=20).run()
except SettingsError as error:
    print(error)
"""
    for held, words in ((100, "the limit is 256: raise it (ulimit -Hn), or run at most 1"), (190, "(ulimit -Hn)\n")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HELD": str(held)},
        )
        assert "20 nodes need about 184 file descriptors beside the" in done.stdout, done.stderr
        assert words in done.stdout


def test_a_number_of_nodes_that_nobody_means_is_refused():
    with pytest.raises(SettingsError, match="nodes must be at most 4096, not 100000"):
        Supervisor(lambda node: 0, nodes=100_000)


def test_zero_delay_is_allowed_and_defaults_are_those_of_the_documentation():
    assert Settings(node_restart_delay=0.0).node_restart_delay == 0.0
    settings = Settings()
    assert (settings.node_restart_delay, settings.restart_delay_max, settings.stable_after) == (5.0, 60.0, 60.0)
    assert (settings.shutdown_timeout, settings.shutdown_grace, settings.boot_timeout) == (60.0, 15.0, 60.0)
    assert (settings.node_report_timeout, settings.liveness_interval, settings.stack_dump_timeout) == (60.0, 10.0, 2.0)
    assert (settings.max_restarts, settings.restart_window, settings.max_unavailable) == (5, 600.0, 1)


def test_the_typed_keywords_are_the_settings():
    fields = typing.get_type_hints(Settings)
    keywords = typing.get_type_hints(SettingsKeywords)
    assert list(keywords) == list(fields)
