"""Ports for servers that cannot be given an open socket."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST = 10_000


def free_ports(number: int, offset: int = 0) -> list[int]:
    """Ports of the loopback that nobody has, and none that the kernel gives to whoever connects somewhere meanwhile.

    Another process may still take one before it is used: who starts a server tries again with others.

    Args:
        offset: ports so far above are to be free too.
    """
    found: list[int] = []
    chance, last = random.SystemRandom(), _first_of_clients()
    while len(found) < number:
        port = chance.randrange(FIRST, last - offset)
        with socket.socket() as low, socket.socket() as high:
            try:
                low.bind(("127.0.0.1", port))
                if offset:
                    high.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
        if not {port - offset, port, port + offset} & set(found):
            found.append(port)
    return found


def _first_of_clients() -> int:
    """Where the range begins from which the kernel takes the ports of connections; 32,768 where it cannot be read."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        first = 32_768
    return first if first > 2 * FIRST + 5_000 else 65_000
