"""What a gateway's modules know of the files that HAProxy loads, and of the names in them."""

import hashlib
import ipaddress
import socket
from pathlib import Path


def addresses(name: str) -> list[str]:
    """IP addresses of a host name, IPv4 first; an address or a network is its own."""
    try:
        return [str(ipaddress.ip_network(name, strict=False)) if "/" in name else str(ipaddress.ip_address(name))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found}, key=lambda address: (":" in address, address))


def checksum(paths: list[str]) -> str:
    """SHA-256 of the files' contents one after the other; a missing file counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        if Path(path).is_file():
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def up_to_date(loaded: str, content: list[str]) -> bool:
    """Whether the file `loaded` holds the checksum of the files."""
    try:
        return Path(loaded).read_text().strip() == checksum(content)
    except OSError:
        return False
