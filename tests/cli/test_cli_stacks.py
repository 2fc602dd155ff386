"""What `swarm-cli trace` says: where the application is, first."""

from swarm_cli.views.stacks import short, threads_of

DUMP = """Thread 0x00007f10c5ffb6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/venv/lib/python3.11/site-packages/swarm_consumer/workers.py", line 79 in _work
  File "/usr/lib/python3.11/threading.py", line 975 in run

Thread 0x00007f10c6ffd6c0 (most recent call first):
  File "/venv/lib/python3.11/site-packages/httpx/_client.py", line 10 in send
  File "/srv/shop/prices.py", line 48 in lookup
  File "/srv/shop/app.py", line 12 in consume
  File "/venv/lib/python3.11/site-packages/swarm_consumer/execution.py", line 194 in _call
  File "/venv/lib/python3.11/site-packages/swarm_consumer/workers.py", line 79 in _work

Thread 0x00007f10c7fff6c0 (most recent call first):
  File "/venv/lib/python3.11/site-packages/swarm_consumer/owner.py", line 120 in _turn

Current thread 0x00007f10c8fff6c0 (most recent call first):
  File "/venv/lib/python3.11/site-packages/swarm_consumer/runtime.py", line 230 in _wait
  File "/venv/lib/python3.11/site-packages/swarm_supervisor/fork.py", line 66 in run
"""


def test_the_first_line_says_where_the_application_is() -> None:
    lines = short(1, 4711, DUMP).splitlines()
    assert lines[0] == "node 1 (pid 4711): in /srv/shop/prices.py:48 in lookup"
    assert lines[1] == "  worker, innermost call first:"
    assert [line.strip().rpartition("/")[2] for line in lines[2:5]] == [
        "_client.py:10 in send", "prices.py:48 in lookup", "app.py:12 in consume",
    ]  # fmt: skip
    assert lines[5] == "  outside the application: 1 x worker, 1 x Kafka client, 1 x main thread (--all shows them)"
    assert len(lines) == 6


def test_an_idle_node_is_two_lines() -> None:
    idle = "\n\n".join(part for part in DUMP.split("\n\n") if "/srv/" not in part)
    lines = short(0, 1, idle).splitlines()
    assert lines[0] == "node 0 (pid 1): no thread is in the application"
    assert len(lines) == 2


def test_a_thread_that_is_there_twice_counts_once_and_names_are_kept() -> None:
    named = DUMP.replace("0x00007f10c6ffd6c0 (", "0x00007f10c6ffd6c0 [prices] (")
    threads = threads_of(named + "\n" + named)
    assert len(threads) == 4
    assert threads[1].name == "prices"


def test_what_cannot_be_read_is_shown_as_it_is() -> None:
    assert short(0, 1, "something else\n") == "node 0 (pid 1)\nsomething else\n"
    assert "Fatal" in short(0, 1, "Fatal Python error")


def test_the_demos_application_counts_as_one() -> None:
    dump = 'Thread 0x1 (most recent call first):\n  File "/x/swarm_cli/_flights/delays.py", line 3 in consume\n'
    assert "delays.py:3 in consume" in short(0, 1, dump).splitlines()[0]


def test_an_application_that_is_installed_like_a_library_is_found() -> None:
    """In an image it often is: `trace` said that no thread is in the application while a handler hung."""
    installed = DUMP.replace("/srv/", "/venv/lib/python3.11/site-packages/")
    lines = short(1, 4711, installed).splitlines()
    assert lines[0].endswith("in /venv/lib/python3.11/site-packages/shop/prices.py:48 in lookup")
    assert [line.strip().rpartition("/")[2] for line in lines[2:5]] == [
        "_client.py:10 in send", "prices.py:48 in lookup", "app.py:12 in consume",
    ]  # fmt: skip
    assert len(lines) == 6
    client = installed.replace(
        'first):\n  File "/venv/lib/python3.11/site-packages/swarm_consumer/owner.py"',
        'first):\n  File "/venv/lib/python3.11/site-packages/confluent_kafka/cimpl.py", line 1 in poll\n'
        '  File "/venv/lib/python3.11/site-packages/swarm_consumer/owner.py"',
    )
    assert "1 x Kafka client" in short(1, 4711, client).splitlines()[-1]
