"""Filters that judge the front's settings on the controller, before any host is touched."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

STATES = ("present", "absent")
SCOPES = ("host", "cluster")
SERVER_FIELDS = {"name", "address", "port", "tls", "tls_name"}
EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - what is compared with
EXPIRES_SOON = timedelta(days=14)
LIMITS = {
    "litellm_gateway_port": (1, 65535),
    "litellm_gateway_tls_port": (0, 65535),
    "litellm_gateway_http_port": (0, 65535),
    "litellm_gateway_metrics_port": (0, 65535),
    "litellm_gateway_max_body_mb": (1, 1024),
    "litellm_gateway_rate_limit": (0, 1_000_000),
    "litellm_gateway_header_timeout": (1, 3600),
    "litellm_gateway_client_timeout": (1, 86400),
    "litellm_gateway_answer_timeout": (1, 86400),
    "litellm_gateway_max_connections": (10, 100_000),
    "litellm_gateway_slow_start": (0, 3600),
    "litellm_gateway_virtual_router_id": (1, 255),
}
"""Lowest and highest value of each number."""

SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
VIRTUAL_PASSWORD = re.compile(r"[A-Za-z0-9]{8}")
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*")
HOST_PATTERN = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{LABEL}(\.{LABEL})*")
PATH = re.compile(r"/[A-Za-z0-9._+@/-]+")
PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

Settings = Mapping[str, Any]


def faults(settings: Settings) -> list[str]:
    """List everything that is wrong, one sentence each: the variable, what is wrong, what to do.

    Args:
        settings: the role's public variables by name.

    Returns:
        The faults, empty when the settings can work; none repeats a secret.
    """
    if settings["litellm_gateway_state"] == "absent":
        return []
    return [
        *_state(settings),
        *_numbers(settings),
        *_listen_host(settings),
        *_servers(settings),
        *_ports(settings),
        *_certificate(settings),
        *_server_names(settings),
        *_admin_networks(settings),
        *_trusted_gateways(settings),
        *_upstream_ca(settings),
        *_virtual_address(settings),
    ]


def warnings(settings: Settings) -> list[str]:
    """List what works but should be known, one sentence each."""
    if settings["litellm_gateway_state"] == "absent":
        return []
    return [*_expires_soon(settings), *_uncovered_names(settings), *_open_to_all(settings)]


def _state(settings: Settings) -> Iterator[str]:
    for name, allowed in (("litellm_gateway_state", STATES), ("litellm_gateway_scope", SCOPES)):
        if settings[name] not in allowed:
            yield f"{name} is {settings[name]!r}: use one of {', '.join(allowed)}."


def _numbers(settings: Settings) -> Iterator[str]:
    for name, (lowest, highest) in LIMITS.items():
        if not _whole_number(settings[name], lowest, highest):
            yield f"{name} is {settings[name]!r}: use a whole number from {lowest} to {highest}."


def _listen_host(settings: Settings) -> Iterator[str]:
    host = settings["litellm_gateway_host"]
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        yield (
            f"litellm_gateway_host is {host!r}: use the address to listen on, 0.0.0.0 for all, 127.0.0.1 for this host."
        )


def _servers(settings: Settings) -> Iterator[str]:
    name, servers = "litellm_gateway_servers", settings["litellm_gateway_servers"]
    if settings["litellm_gateway_scope"] == "cluster" and _is_list(servers) and not servers:
        yield f"{name} is empty: name the proxies behind this gateway in the group litellm_proxy of the inventory."
        return
    if not _is_list(servers) or not servers or not all(isinstance(server, Mapping) for server in servers):
        yield f"{name} must be a list of at least one entry, each with 'name', 'address' and 'port'."
        return
    for index, server in enumerate(servers):
        where = f"{name}[{index}] ({server.get('name', 'no name')})"
        for unknown in sorted(map(str, set(server) - SERVER_FIELDS)):
            yield f"{where} has an unknown field '{unknown}': use {', '.join(sorted(SERVER_FIELDS))}."
        if not SERVER_NAME.fullmatch(str(server.get("name") or "")):
            yield f"{where} needs a 'name' of lower-case letters, digits, '_', '-' and '.', 63 at most."
        if not _host(server.get("address")):
            yield (
                f"{where} needs an 'address': the IP address or host name that it listens on (of a proxy: "
                "litellm_proxy_address or ansible_host)."
            )
        elif settings["litellm_gateway_scope"] == "cluster" and _local(server.get("address")):
            yield f"{where} is on the gateway itself: set litellm_proxy_address of that host to its own address."
        if not _whole_number(server.get("port"), 1, 65535):
            yield f"{where} needs a 'port': use a whole number from 1 to 65535."
        if not isinstance(server.get("tls", False), bool):
            yield f"{where} has 'tls' as {server['tls']!r}: use true or false."
        if server.get("tls") is True and not HOST_NAME.fullmatch(str(server.get("tls_name") or "")):
            yield (
                f"{where} needs a 'tls_name': the host name in its certificate (of a proxy: litellm_proxy_tls_name), "
                "without port."
            )
    for index, server in enumerate(servers):
        for other, earlier in enumerate(servers[:index]):
            if server.get("name") == earlier.get("name"):
                yield f"{name}[{other}] and [{index}] have the same name ({server.get('name')}): rename one."
            if _address(server) == _address(earlier):
                yield f"{name}[{other}] and [{index}] are the same address and port: remove one."


def _ports(settings: Settings) -> Iterator[str]:
    tls = _has_certificate(settings)
    names = ["port", *(["tls_port", "http_port"] if tls else []), "metrics_port"]
    taken: dict[int, str] = {}
    for name in names:
        port = settings[f"litellm_gateway_{name}"]
        if not _whole_number(port, 1, 65535):
            continue
        if int(port) in taken:
            yield f"litellm_gateway_{name} is {port} like {taken[int(port)]}: give each a port of its own."
        taken.setdefault(int(port), f"litellm_gateway_{name}")
    for index, server in enumerate(_mappings(settings["litellm_gateway_servers"])):
        port = server.get("port") or 0
        if _local(server.get("address")) and _whole_number(port, 1, 65535) and int(port) in taken:
            yield (
                f"litellm_gateway_servers[{index}] ({server.get('name')}) has port {port} like {taken[int(port)]}: an "
                "instance on this host needs another one."
            )
    if not tls and _whole_number(settings["litellm_gateway_http_port"], 1, 65535):
        yield (
            "litellm_gateway_http_port only redirects to TLS, and there is no certificate: set "
            "litellm_gateway_certificate, or 0."
        )


def _certificate(settings: Settings) -> Iterator[str]:
    names = ("certificate", "certificate_key", "certificate_file", "certificate_key_file")
    given = {name: settings[f"litellm_gateway_{name}"] for name in names}
    for name in names:
        if given[name] is not None and not isinstance(given[name], str):
            yield f"litellm_gateway_{name} must be a text; empty for none."
            return
    text, files = given["certificate"] or given["certificate_key"], given["certificate_file"] or given[names[3]]
    if text and files:
        yield (
            "litellm_gateway_certificate (text) and litellm_gateway_certificate_file (path on the host) exclude each "
            "other: empty one pair."
        )
        return
    for one, other in (names[:2], names[2:]):
        if bool(given[one]) != bool(given[other]):
            missing = other if given[one] else one
            yield f"litellm_gateway_{missing} is empty: give certificate and key, or neither."
            return
    for name in names[2:]:
        if given[name] and not PATH.fullmatch(given[name]):
            yield f"litellm_gateway_{name} is {given[name]!r}: use an absolute path of letters, digits and . _ + @ / -."
    if text:
        yield from _certificate_text(given["certificate"], given["certificate_key"])


def _certificate_text(text: str, key_text: str) -> Iterator[str]:
    name, key_name = "litellm_gateway_certificate", "litellm_gateway_certificate_key"
    if "PRIVATE KEY" in text:
        yield f"{name} holds a private key: put it into {key_name}, in the vault."
        return
    chain = _chain(text)
    if not chain:
        yield f"{name} is no certificate that can be read: give PEM text, from -----BEGIN CERTIFICATE----- on."
    else:
        yield from _dates(name, chain)
    key = None
    try:
        key = load_pem_private_key(key_text.encode(), password=None)
    except TypeError:
        yield f"{key_name} has a passphrase, which a service cannot enter: give the key without it, in the vault."
    except (ValueError, UnsupportedAlgorithm):
        yield f"{key_name} is no private key that can be read: give PEM text, from -----BEGIN PRIVATE KEY----- on."
    if chain and key and _public(key.public_key()) != _public(chain[0].public_key()):
        said = "of another one in the chain: put the server's own first" if len(chain) > 1 and any(
            _public(key.public_key()) == _public(one.public_key()) for one in chain[1:]
        ) else "of another certificate: give the pair that belongs together"  # fmt: skip
        yield f"{key_name} is not the key of the first certificate in {name} but {said}."


def _dates(name: str, chain: Sequence[x509.Certificate]) -> Iterator[str]:
    now = datetime.now(timezone.utc)
    for index, one in enumerate(chain):
        which = "" if index == 0 else f" (certificate {index + 1} of the chain)"
        if _ends(one) <= now:
            yield f"{name}{which} expired on {_ends(one):%Y-%m-%d}: renew it."
        elif _time(one, "not_valid_before") > now:
            begins = _time(one, "not_valid_before")
            yield f"{name}{which} is valid only from {begins:%Y-%m-%d}: use it then, or set the controller's clock."


def _listed(settings: Settings, name: str, fits: Callable[[object], object], of: str, use: str) -> Iterator[str]:
    if not _is_list(settings[name]):
        yield f"{name} must be a list of {of}."
        return
    for index, one in enumerate(settings[name]):
        if not fits(one):
            yield f"{name}[{index}] is {one!r}: use {use}."


def _server_names(settings: Settings) -> Iterator[str]:
    yield from _listed(
        settings,
        "litellm_gateway_server_names",
        lambda one: isinstance(one, str) and HOST_PATTERN.fullmatch(one),
        "host names; empty for any",
        "a host name without port, such as glm.example.com or *.example.com",
    )


def _admin_networks(settings: Settings) -> Iterator[str]:
    yield from _listed(
        settings,
        "litellm_gateway_admin_networks",
        _network,
        "networks; empty for none",
        "an address or a network, such as 10.0.0.0/8",
    )


def _trusted_gateways(settings: Settings) -> Iterator[str]:
    name, gateways = "litellm_gateway_trusted_gateways", settings["litellm_gateway_trusted_gateways"]
    yield from _listed(
        settings,
        name,
        lambda one: _network(one) or _host(one),
        "addresses; empty for none",
        "an address, a network or a host name (of a gateway: litellm_gateway_address or ansible_host)",
    )
    for index, gateway in enumerate(gateways if _is_list(gateways) else ()):
        if (network := _network(gateway)) and network.prefixlen == 0:
            yield f"{name}[{index}] is {gateway!r}, and everybody could claim any address: name the gateways alone."


def _upstream_ca(settings: Settings) -> Iterator[str]:
    name, text = "litellm_gateway_upstream_ca", settings["litellm_gateway_upstream_ca"]
    if text is not None and not isinstance(text, str):
        yield f"{name} must be a text; empty for what the system trusts."
    elif text and "PRIVATE KEY" in text:
        yield f"{name} holds a private key: give the certificate of the authority alone."
    elif text and not _chain(text):
        yield f"{name} is no certificate that can be read: give PEM text, from -----BEGIN CERTIFICATE----- on."
    elif text:
        yield from _dates(name, _chain(text))


def _virtual_address(settings: Settings) -> Iterator[str]:
    address, interface, password = (
        settings[f"litellm_gateway_virtual_{name}"] for name in ("address", "interface", "password")
    )
    if not address:
        return
    name = "litellm_gateway_virtual_address"
    if settings["litellm_gateway_scope"] == "host":
        yield f"{name} is for gateways: set it for the group litellm_gateway alone, not for proxies."
    if not isinstance(address, str) or not re.fullmatch(r"[^/]+/\d+", address) or not _ipv4_network(address):
        yield f"{name} is {address!r}: use an IPv4 address with the length of its network, such as 10.0.0.10/24."
    if not INTERFACE.fullmatch(str(interface or "")):
        yield f"litellm_gateway_virtual_interface is {interface!r}: use the interface of that network, such as eth0."
    if not isinstance(password, str) or not VIRTUAL_PASSWORD.fullmatch(password):
        yield "litellm_gateway_virtual_password must be 8 letters and digits, as VRRP has no longer one, in the vault."
    if settings["litellm_gateway_host"] not in EVERY_INTERFACE:
        yield (
            f"litellm_gateway_host is {settings['litellm_gateway_host']!r}, and the shared address comes and goes: use "
            f"0.0.0.0, or empty {name}."
        )
    yield from _virtual_peers(settings)


def _virtual_peers(settings: Settings) -> Iterator[str]:
    name, own = "litellm_gateway_virtual_peers", settings["litellm_gateway_address"]
    peers = settings[name]
    # one alone is what is left of two
    if not _is_list(peers) or not peers or len(set(map(str, peers))) != len(peers):
        yield f"{name} must name at least this gateway, each once: by default those of the group litellm_gateway."
        return
    for index, peer in enumerate(peers):
        if not _ipv4(peer):
            yield f"{name}[{index}] is {peer!r}: use IPv4 addresses; litellm_gateway_address of a gateway is its own."
    if (shared := str(settings["litellm_gateway_virtual_address"]).partition("/")[0]) in peers:
        yield f"litellm_gateway_virtual_address is {shared!r}, a gateway's own: use one that no host has."
    if own not in peers:
        yield f"litellm_gateway_address is {own!r}, which {name} lacks: use one address of each gateway in both."


def _expires_soon(settings: Settings) -> Iterator[str]:
    now = datetime.now(timezone.utc)
    for index, one in enumerate(_chain(settings["litellm_gateway_certificate"])):
        which = "" if index == 0 else f" (certificate {index + 1} of the chain)"
        if now < _ends(one) < now + EXPIRES_SOON:
            yield f"litellm_gateway_certificate{which} expires on {_ends(one):%Y-%m-%d}: renew it in time."


def _uncovered_names(settings: Settings) -> Iterator[str]:
    chain, names = _chain(settings["litellm_gateway_certificate"]), settings["litellm_gateway_server_names"]
    if not chain or not _is_list(names):
        return
    try:
        extension = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        covered = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    except (x509.ExtensionNotFound, ValueError):
        covered = set()
    for name in map(str, names):
        wildcard = "*." + name.partition(".")[2]
        if name.lower() not in covered and wildcard.lower() not in covered:
            yield (
                f"litellm_gateway_certificate does not name {name} of litellm_gateway_server_names: clients that check "
                "certificates refuse it; issue one with this name."
            )


def _open_to_all(settings: Settings) -> Iterator[str]:
    networks = settings["litellm_gateway_admin_networks"]
    for network in networks if _is_list(networks) else []:
        found = _network(network)
        if found and found.prefixlen == 0:
            yield (
                f"litellm_gateway_admin_networks has {network}: every client reaches admin and metrics routes; name "
                "the networks of your operators."
            )


def _chain(text: object) -> list[x509.Certificate]:
    """The certificates in a PEM text, empty when one of them cannot be read."""
    if not isinstance(text, str):
        return []
    try:
        return [x509.load_pem_x509_certificate(one.encode()) for one in PEM_CERTIFICATE.findall(text)]
    except ValueError:
        return []


def _ends(certificate: x509.Certificate) -> datetime:
    return _time(certificate, "not_valid_after")


def _time(certificate: x509.Certificate, name: str) -> datetime:
    # the property with a time zone is too new for some controllers, and the one without deprecated
    found = getattr(certificate, f"{name}_utc", None) or getattr(certificate, name).replace(tzinfo=timezone.utc)
    assert isinstance(found, datetime)  # noqa: S101 - for mypy
    return found


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _has_certificate(settings: Settings) -> bool:
    return bool(settings["litellm_gateway_certificate"] or settings["litellm_gateway_certificate_file"])


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None


def _ipv4(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.IPv4Address(value))
    except ValueError:
        return False


def _ipv4_network(value: str) -> bool:
    return isinstance(_network(value), ipaddress.IPv4Network)


def _host(value: object) -> bool:
    if not isinstance(value, str):
        return False
    # digits and dots alone are a mistyped address, not a name
    return _network(value + "/128" if ":" in value else value + "/32") is not None or (
        HOST_NAME.fullmatch(value) is not None and not re.fullmatch(r"[0-9.]+", value)
    )


def _local(address: object) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False


def _address(server: Mapping[str, Any]) -> tuple[str, str]:
    return str(server.get("address")), str(server.get("port"))


def _whole_number(value: object, lowest: int, highest: int) -> bool:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        return False
    return lowest <= int(str(value)) <= highest


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _mappings(entries: object) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_gateway_faults": faults, "litellm_gateway_warnings": warnings}
