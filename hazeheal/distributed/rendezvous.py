"""Waits until the other groups of a job can be reached, before TensorFlow connects to them.

TensorFlow waits in C++ and holds Python's global interpreter lock: signal handlers do not run, and nothing reports
which group is missing. So each group first listens at its own address, and connects to the others until each has
accepted a connection once. After that TensorFlow's server listens at the same address, so that a group that is
restarted later finds the others as well.
"""

import concurrent.futures
import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Callable

from hazeheal.distributed.tf_config import Cluster
from hazeheal.errors import HazeHealError
from hazeheal.utils.console import first_few

PROBE_SECONDS = 2.0
PAUSE_SECONDS = 0.25
REMIND_SECONDS = 60.0
PORT_SECONDS = 20.0  # an earlier process may still be releasing the port


def wait_for_groups(cluster: Cluster, *, report: Callable[[str], None] | None = None) -> None:
    """Returns when every other group of the job has accepted a connection once.

    `report` is called once per minute with a line that lists the missing groups; by default it prints to stderr.

    Raises:
        HazeHealError: Another program uses this group's port.
    """
    own_address = cluster.addresses[cluster.group]
    missing = [address for address in cluster.addresses if address != own_address]
    report = report or _print
    with (
        contextlib.closing(_open_listener(own_address)) as listener,
        concurrent.futures.ThreadPoolExecutor(max_workers=min(32, len(missing))) as pool,
    ):
        reported_at = time.monotonic()
        while True:
            reasons = dict(zip(missing, pool.map(connection_problem, missing), strict=True))
            missing = [address for address in missing if reasons[address] is not None]
            if not missing:
                return
            if time.monotonic() - reported_at > REMIND_SECONDS:
                reported_at = time.monotonic()
                names = first_few([f"{address} ({reasons[address]})" for address in missing])
                report(f"group {cluster.group} at {own_address}: still waiting for {names}")
            with contextlib.suppress(OSError):  # empty; a full queue would refuse further groups
                while True:
                    listener.accept()[0].close()
            time.sleep(PAUSE_SECONDS)


def connection_problem(address: str) -> str | None:
    """Tries to connect to `host:port`. Returns why that fails, or None if it succeeds."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:  # a part of the name is empty or too long
        return "invalid host name"
    return None


def _open_listener(own_address):
    port = int(own_address.rpartition(":")[2])
    end = time.monotonic() + PORT_SECONDS
    while True:
        try:
            listener = _listen(port)
            listener.setblocking(False)
            return listener
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise HazeHealError(
                    f"{own_address}, the address of this group: port {port} cannot be used: "
                    f"{os.strerror(error.errno or 0)}; stop the program that uses it, or set another port with --hosts"
                ) from error
        time.sleep(PAUSE_SECONDS)


def _listen(port):
    """Listens on all addresses, as TensorFlow does."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # the kernel supports IPv6, but it is disabled
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _print(line):
    print(line, file=sys.stderr, flush=True)
