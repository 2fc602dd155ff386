"""What a node starts with multiprocessing: it ends with the node, sees its flags, and cannot speak for it."""

import os
import signal

import pytest

OFFSPRING = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

# Both start their processes as forks of the node, as handlers do that have no other choice.
context = multiprocessing.get_context("fork")

def tell(**what):
    import json
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")

def daemon():
    process = context.Process(target=time.sleep, args=(3600,), daemon=True)
    process.start()
    return process.pid

def pool():
    return context.Pool(1).apply(os.getpid)

def executor():
    global kept
    kept = ProcessPoolExecutor(1, mp_context=context)
    return kept.submit(os.getpid).result()

def neglected():
    # Not a daemon: the interpreter would wait for it for ever.
    process = context.Process(target=time.sleep, args=(3600,))
    process.start()
    return process.pid

def target(node):
    tell(pid=globals()[sys.argv[1]]())
    return beat(node)

sys.exit(supervise(target, shutdown_timeout=20.0).run())
"""


@pytest.mark.parametrize("kind", ["daemon", "pool", "executor", "neglected"])
def test_processes_of_multiprocessing_end_with_their_node(start, gone, kind):
    swarm = start(OFFSPRING, kind)
    pid = swarm.wait_for("Told")["pid"]
    swarm.running(1)
    swarm.signal(signal.SIGTERM)
    assert swarm.end(40.0) == 0
    gone(pid, 20.0)


def test_what_the_host_has_started_is_not_the_nodes_to_end(start):
    swarm = start("""
import multiprocessing
context = multiprocessing.get_context("fork")
own = context.Process(target=time.sleep, args=(3600,), daemon=True)
own.start()
code = supervise(lambda node: beat(node, 0.05)).run()
print('{"event": "Told", "alive": %s}' % str(own.is_alive()).lower(), flush=True)
own.terminate()
sys.exit(code)
""")
    swarm.running(1)
    swarm.signal(signal.SIGUSR2)
    swarm.wait_for("RolloutFinished")
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0
    assert swarm.all("Told")[0]["alive"]


WORKER = """
def tell(**what):
    import json
    os.write(1, json.dumps({"event": "Told", **what}).encode() + b"\\n")

def target(node):
    node.healthy()
    pid = os.fork()
    if pid == 0:
        try:
            globals()[sys.argv[1]](node)
        finally:
            os._exit(7)
    tell(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), worker=pid)
    return beat(node)

def beats(node):
    for speak in (node.healthy, node.ready, lambda: node.unhealthy(77, "why")):
        try:
            speak()
        except RuntimeError as error:
            tell(error=str(error))

def waits(node):
    tell(waiting=os.getpid())
    rounds = 0
    while not node.stopping.wait(30.0):
        rounds += 1
    tell(rounds=rounds, cpu=time.process_time())

def is_terminated(node):
    tell(waiting=os.getpid())
    while True:
        signal.pause()

sys.exit(supervise(target, node_report_timeout=60.0, shutdown_timeout=20.0).run())
"""


def test_a_process_that_a_node_has_forked_cannot_beat_for_it(start):
    swarm = start(WORKER, "beats")
    assert swarm.wait_for("Told", lambda event: "status" in event)["status"] == 7
    errors = [event["error"] for event in swarm.all("Told") if "error" in event]
    assert len(errors) == 3
    assert all("only the node itself may report" in error for error in errors)
    assert swarm.all("NodeStopping") == []
    swarm.signal(signal.SIGTERM)
    assert swarm.end() == 0


def test_a_process_that_a_node_has_forked_sees_that_the_node_stops(start):
    swarm = start(WORKER, "waits")
    swarm.wait_for("Told", lambda event: "waiting" in event)
    swarm.signal(signal.SIGTERM)
    told = swarm.wait_for("Told", lambda event: "rounds" in event)
    assert told["rounds"] == 0
    assert told["cpu"] < 5.0
    assert swarm.end() == 0


def test_a_worker_that_is_terminated_does_not_stop_its_node(start):
    """It has inherited the node's handler of TERM: the node itself was not meant."""
    swarm = start(WORKER, "is_terminated")
    worker = swarm.wait_for("Told", lambda event: "waiting" in event)["waiting"]
    os.kill(worker, signal.SIGTERM)
    assert swarm.wait_for("Told", lambda event: "status" in event)["status"] == -signal.SIGTERM
    swarm.signal(signal.SIGUSR2)  # an answer that comes after whatever the worker may have said
    swarm.wait_for("RolloutStarted")
    assert [event for event in swarm.all("NodeStopping") if "somebody" in event["reason"]] == []
