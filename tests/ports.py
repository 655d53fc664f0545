"""Ports on this machine for what the tests start."""

import random
import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on in either family, below those that the kernel gives to outgoing connections."""
    both = socket.has_dualstack_ipv6()
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 1000):
        try:
            socket.create_server(
                ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
            ).close()
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
