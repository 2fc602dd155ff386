"""The orders of a node: told apart by their value, seen by every thread and every process of the node, never taken."""

import os
import resource
import select
import subprocess
import sys
import threading

import pytest

from swarm_supervisor import _orders as orders
from swarm_supervisor._flags import GoFlag
from swarm_supervisor._node_handle import Channels, NodeHandle
from swarm_supervisor._orders import GO, LEAVE, RETURN, orders_sent

OTHER = """
import sys
from swarm_supervisor._orders import orders_sent
print({orders_sent(int(sys.argv[1])) for _ in range(300)})
"""


@pytest.fixture
def channels():
    channels = Channels(go=False)
    yield channels
    channels.close()


def test_orders_are_known_by_their_value_and_stay_in_the_pipe(channels):
    assert orders_sent(channels.orders_read) == b""
    os.write(channels.orders_write, GO)
    for _ in range(3):
        assert orders_sent(channels.orders_read) == GO
    os.write(channels.orders_write, LEAVE)
    for _ in range(3):
        assert orders_sent(channels.orders_read) == GO + LEAVE
    assert select.select([channels.orders_read], [], [], 0.0)[0] == [channels.orders_read]


def test_a_leave_is_no_go(channels):
    """By their number alone the two were the same."""
    go = GoFlag(channels.orders_read)
    os.write(channels.orders_write, LEAVE)
    assert not go.is_set()
    os.write(channels.orders_write, GO)
    assert go.is_set()


def test_every_thread_and_every_process_sees_the_same(channels):
    os.write(channels.orders_write, GO)
    os.write(channels.orders_write, LEAVE)
    seen = set()

    def look():
        for _ in range(300):
            seen.add(orders_sent(channels.orders_read))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read_fd = channels.orders_read
    with subprocess.Popen([sys.executable, "-c", OTHER, str(read_fd)], pass_fds=[read_fd], stdout=-1) as other:
        while other.poll() is None:
            look()
        assert other.stdout.read() == b"{b'gll'}\n"
    assert seen == {GO + LEAVE}


def test_no_descriptor_is_left_behind(channels):
    os.write(channels.orders_write, GO)
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        orders_sent(channels.orders_read)
    assert os.listdir("/proc/self/fd") == before


def test_a_node_that_has_used_its_descriptors_up_still_hears_its_orders(channels):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert orders_sent(channels.orders_read) == b""
        os.write(channels.orders_write, GO)
        assert orders_sent(channels.orders_read) == GO
        os.write(channels.orders_write, LEAVE)
        assert orders_sent(channels.orders_read) == GO + LEAVE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_kernel_that_refuses_the_copy_is_no_reason_to_hear_nothing(channels, monkeypatch):
    def refused(from_fd, to_fd, size):
        raise PermissionError("no tee(2) in this sandbox")

    monkeypatch.setattr(orders, "tee", refused)
    os.write(channels.orders_write, GO)
    assert orders_sent(channels.orders_read) == GO


@pytest.mark.parametrize("sent", [(GO,), (GO, RETURN), (GO, LEAVE), (GO, RETURN, LEAVE), (GO, LEAVE, LEAVE)])
def test_what_is_known_by_number_alone_is_what_counts(channels, monkeypatch, sent):
    """Without the copy: whether it may go, whether it has to leave, and else whether it returns."""

    def refused(from_fd, to_fd, size):
        raise PermissionError("no tee(2) in this sandbox")

    monkeypatch.setattr(orders, "tee", refused)
    for order in sent:
        os.write(channels.orders_write, order)
    known = orders_sent(channels.orders_read)
    assert GO in known
    assert (LEAVE in known) is (LEAVE in sent)
    assert (RETURN in known) is (RETURN in sent and LEAVE not in sent)


def test_a_spare_hears_nothing_of_its_end_before_it_is_told_to_go():
    """By number alone it would take such an order for the go. A supervisor whose core has failed tells all to leave."""
    channels = Channels(go=False)
    handle = NodeHandle(0, 1, os.getpid(), channels)
    try:
        for order in (LEAVE, RETURN):
            handle.order(order)
        assert orders_sent(channels.orders_read) == b""
        handle.order(GO)
        handle.order(LEAVE)
        assert orders_sent(channels.orders_read) == GO + LEAVE
    finally:
        handle.close()
        channels.close_childs_ends()
