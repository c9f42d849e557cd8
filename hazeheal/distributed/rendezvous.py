"""Waits until the other groups of a job are there, before TensorFlow does.

TensorFlow waits in C++ and holds Python's interpreter lock meanwhile: no signal handler runs, and nobody
says what is missing. So each group first listens at its own address and tries the others' until all have
answered once. No word is exchanged. A group that is past this has TensorFlow's server at the same address,
which answers as well: one that is started again finds the others wherever they stand.
"""

import concurrent.futures
import contextlib
import errno
import os
import socket
import sys
import time

from hazeheal.errors import HazeHealError

PROBE_SECONDS = 2.0
PAUSE_SECONDS = 0.25
REMIND_SECONDS = 60.0
# A process before this one may still be about to end.
PORT_SECONDS = 20.0


def wait_for_groups(cluster, *, say=None) -> None:
    """Returns when every other group of the job has answered once.

    Args:
        cluster: The `cluster.Cluster`.
        say: Called with a line for the user, once a minute: who is missing, and why; by default it goes to
            stderr.

    Raises:
        HazeHealError: Another program listens at this group's address.
    """
    own = cluster.addresses[cluster.group]
    missing = [address for address in cluster.addresses if address != own]
    say = say or _say
    with (
        contextlib.closing(_listener(own)) as listener,
        concurrent.futures.ThreadPoolExecutor(max_workers=min(32, len(missing))) as pool,
    ):
        reminded = time.monotonic()
        while True:
            problems = zip(missing, pool.map(connection_problem, missing), strict=True)
            reasons = {address: reason for address, reason in problems if reason is not None}
            missing = list(reasons)
            if not missing:
                return
            if time.monotonic() - reminded > REMIND_SECONDS:
                reminded = time.monotonic()
                words = [f"{address} ({reason})" for address, reason in reasons.items()]
                more = f" and {len(words) - 3} more" if len(words) > 3 else ""
                say(f"group {cluster.group} at {own}: still waiting for {', '.join(words[:3])}{more}")
            _accept(listener)
            time.sleep(PAUSE_SECONDS)


def connection_problem(address: str) -> str | None:
    """Why nobody answers at `host:port`; None where somebody does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:  # a part of the name is empty or too long
        return "no name of a host"
    return None


def _listener(own):
    port = int(own.rpartition(":")[2])
    end = time.monotonic() + PORT_SECONDS
    while True:
        try:
            listener = _listen(port)
            listener.setblocking(False)
            return listener
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise HazeHealError(
                    f"{own}, where this group is to be reached, cannot be used: port {port} of this host: "
                    f"{os.strerror(error.errno or 0)}; end what uses it, or name another port with --hosts"
                ) from error
        time.sleep(PAUSE_SECONDS)


def _listen(port):
    """On all addresses, as TensorFlow listens."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # a kernel may know IPv6 and have none
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _accept(listener):
    """Lets the others go: a full queue would keep further ones from connecting."""
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


def _say(line):
    print(line, file=sys.stderr, flush=True)
