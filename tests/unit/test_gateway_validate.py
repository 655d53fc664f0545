"""Faulty settings of the front are refused on the controller: each message names the variable and the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from litellm_gateway_validate import LIMITS, SCOPES, SERVER_FIELDS, STATES, FilterModule, faults, warnings

from tests.certificates import self_signed

ROLE = Path(__file__).resolve().parents[2] / "roles" / "litellm_gateway"
SERVERS = [{"name": "a", "address": "127.0.0.1", "port": 4001}, {"name": "b", "address": "127.0.0.1", "port": 4002}]
CHAIN, KEY = self_signed("glm.example.com")
OTHER_CHAIN, OTHER_KEY = self_signed()


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLE / path).read_text())
    return content


DEFAULTS = load("defaults/main.yml")
OPTIONS: dict[str, dict[str, Any]] = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
SETTINGS: dict[str, str] = load("vars/main.yml")["__litellm_gateway_settings"]


def settings(**changes: object) -> dict[str, Any]:
    """The defaults; `changes` go by the names without `litellm_gateway_`."""
    found = {name: DEFAULTS[name] for name in SETTINGS}
    # templates in the defaults
    found |= {"litellm_gateway_host": "0.0.0.0", "litellm_gateway_port": 4000, "litellm_gateway_servers": SERVERS}
    found |= {"litellm_gateway_scope": "host", "litellm_gateway_address": "10.0.0.1"}
    found |= {"litellm_gateway_trusted_gateways": [], "litellm_gateway_virtual_peers": []}
    for name, value in changes.items():
        assert f"litellm_gateway_{name}" in found, f"the role hands no {name} to its filters"
        found[f"litellm_gateway_{name}"] = value
    return found


def with_certificate(chain: object = CHAIN, key: object = KEY, **changes: object) -> dict[str, Any]:
    return settings(certificate=chain, certificate_key=key, **changes)


def server(**changes: object) -> list[dict[str, object]]:
    return [{"name": "a", "address": "127.0.0.1", "port": 4001} | changes]


def proxies(*addresses: str) -> list[dict[str, object]]:
    """Servers of a gateway."""
    return [{"name": f"llm-{n}.example.com", "address": one, "port": 4000} for n, one in enumerate(addresses, 1)]


def cluster(**changes: object) -> dict[str, Any]:
    """Settings of a gateway before two proxies."""
    return settings(**{"scope": "cluster", "servers": proxies("10.0.0.11", "llm-2.example.com")} | changes)


def shared(**changes: object) -> dict[str, Any]:
    """Settings of one of two gateways that share an address."""
    virtual = {
        "virtual_address": "10.0.0.10/24", "virtual_interface": "eth0", "virtual_password": "n7Gq2xWd",
        "virtual_peers": ["10.0.0.1", "10.0.0.2"],
    }  # fmt: skip
    return cluster(**virtual | changes)


def test_the_defaults_and_every_kind_of_certificate_can_work() -> None:
    files = {"certificate_file": "/etc/letsencrypt/live/x/fullchain.pem", "certificate_key_file": "/etc/key.pem"}
    for good in (
        settings(),
        with_certificate(),
        with_certificate(CHAIN + OTHER_CHAIN),
        with_certificate("some text before\n" + CHAIN.replace("\n", "\r\n")),
        settings(**files, http_port=80),
        settings(port="443", host="::", tls_port=443),
        settings(server_names=["glm.example.com", "*.example.com", "host_1"]),
        settings(admin_networks=[]),
        settings(admin_networks=["10.0.0.1", "fd00::/8"]),
        settings(servers=server(address="proxy-1.internal") + server(name="b", address="::1", port="4002")),
        settings(trusted_gateways=["10.0.0.1", "fd00::1", "10.9.0.0/24", "gw-1.example.com"]),
        cluster(),
        cluster(servers=[proxies("10.0.0.11")[0] | {"tls": True, "tls_name": "llm.example.com"}], upstream_ca=CHAIN),
        shared(),
        shared(virtual_peers=["10.0.0.1"]),
    ):
        assert faults(good) == []


def case(identifier: str, starts_with: str, says: str, given: dict[str, Any]) -> Any:
    """One fault: the settings that have it, how its message begins and what it says to do."""
    return pytest.param(given, f"litellm_gateway_{starts_with}", says, id=identifier)


def expired() -> tuple[str, str]:
    return self_signed(days=-1, begins=-30)


def encrypted_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()


FAULTS = [
    case("state", "state is 'gone'", "present, absent", settings(state="gone")),
    *(
        case(f"{name} is {value!r}", f"{name} is", f"from {lowest} to {highest}", settings(**{name: value}))
        for name, (lowest, highest) in ((name.removeprefix("litellm_gateway_"), LIMITS[name]) for name in LIMITS)
        for value in (lowest - 1, highest + 1, "many", 1.5, None, True)
    ),
    case("host is a name", "host is 'localhost'", "127.0.0.1", settings(host="localhost")),
    case("no server", "servers must", "at least one entry", settings(servers=[])),
    case("servers are a mapping", "servers must", "a list", settings(servers={"a": 1})),
    case(
        "server without name",
        "servers[0] (no name)",
        "needs a 'name'",
        settings(servers=[{"address": "::1", "port": 1}]),
    ),
    case("server name in upper case", "servers[0] (A)", "lower-case", settings(servers=server(name="A"))),
    case("server without address", "servers[0] (a)", "needs an 'address'", settings(servers=server(address=""))),
    case(
        "server with a wrong address", "servers[0] (a)", "needs an 'address'", settings(servers=server(address="1.2.3"))
    ),
    case("server address with a space", "servers[0] (a)", "'address'", settings(servers=server(address="h check"))),
    case("server port", "servers[0] (a)", "from 1 to 65535", settings(servers=server(port=0))),
    case("unknown field of a server", "servers[0] (a)", "address, name, port, tls", settings(servers=server(weight=1))),
    case("servers of one name", "servers[0] and [1]", "rename one", settings(servers=server() + server(port=1))),
    case("one server twice", "servers[0] and [1]", "remove one", settings(servers=server() + server(name="b"))),
    case("scope", "scope is 'all'", "host, cluster", settings(scope="all")),
    case("gateway without proxies", "servers is empty", "the group litellm_proxy", cluster(servers=[])),
    case("proxy on the gateway", "servers[0] (llm-1", "litellm_proxy_address", cluster(servers=proxies("127.0.0.1"))),
    case(
        "proxy with a wrong address", "servers[0] (llm-1", "litellm_proxy_address", cluster(servers=proxies("10.0.0"))
    ),
    case("tls as a text", "servers[0] (a)", "true or false", settings(servers=server(tls="yes"))),
    case("tls without a name", "servers[0] (a)", "litellm_proxy_tls_name", settings(servers=server(tls=True))),
    case("gateways are a text", "trusted_gateways must", "a list", settings(trusted_gateways="10.0.0.1")),
    case("gateway address", "trusted_gateways[0] is", "litellm_gateway_address", settings(trusted_gateways=["10.0.0"])),
    case("all trusted", "trusted_gateways[0] is", "name the gateways", settings(trusted_gateways=["0.0.0.0/0"])),
    case("authority is a path", "upstream_ca is no certificate", "PEM text", cluster(upstream_ca="/etc/ca.pem")),
    case("key of the authority", "upstream_ca holds", "certificate of the authority", cluster(upstream_ca=CHAIN + KEY)),
    case(
        "authority expired", "upstream_ca expired", "renew it", cluster(upstream_ca=self_signed(days=-1, begins=-9)[0])
    ),
    *(
        case(f"shared address {address!r}", "virtual_address is", "10.0.0.10/24", shared(virtual_address=address))
        for address in ("10.0.0.10", "10.0.0.10/33", "fd00::1/64", "10.0.0/24", 10)
    ),
    case("shared address of a proxy", "virtual_address is for gateways", "alone", shared(scope="host")),
    case("no interface", "virtual_interface is ''", "eth0", shared(virtual_interface="")),
    case("long password", "virtual_password must", "8 letters", shared(virtual_password="n7Gq2xWd9")),
    case("placeholder as password", "virtual_password must", "8 letters", shared(virtual_password="CHANGE-ME")),
    case("one interface", "host is '10.0.0.1'", "use 0.0.0.0", shared(host="10.0.0.1")),
    case("a gateway's own", "virtual_address is '10.0.0.2'", "no host has", shared(virtual_address="10.0.0.2/24")),
    case("no gateway", "virtual_peers must", "at least", shared(virtual_peers=[])),
    case("one gateway twice", "virtual_peers must", "each once", shared(virtual_peers=["10.0.0.1"] * 2)),
    case("gateway by name", "virtual_peers[1] is", "IPv4", shared(virtual_peers=["10.0.0.1", "gw-2"])),
    case("not among them", "address is '10.0.0.9'", "in both", shared(address="10.0.0.9")),
    case("port of an instance", "servers[0] (a)", "needs another one", settings(port=4001)),
    case("port of the metrics", "metrics_port is 4000", "a port of its own", settings(metrics_port=4000)),
    case("port of TLS", "tls_port is 443 like", "a port of its own", with_certificate(port=443)),
    case("redirect without TLS", "http_port", "set litellm_gateway_certificate, or 0", settings(http_port=80)),
    case("certificate without key", "certificate_key is empty", "or neither", settings(certificate=CHAIN)),
    case("key without certificate", "certificate is empty", "or neither", settings(certificate_key=KEY)),
    case("file without key", "certificate_key_file is empty", "or neither", settings(certificate_file="/a")),
    case(
        "relative file",
        "certificate_file is 'a.pem'",
        "absolute",
        settings(certificate_file="a.pem", certificate_key_file="/k"),
    ),
    case("text and file", "certificate (text) and", "empty one pair", with_certificate(certificate_file="/a")),
    case("certificate is no text", "certificate must", "a text", settings(certificate=[CHAIN])),
    case("certificate is a path", "certificate is no certificate", "PEM text", with_certificate("/etc/cert.pem")),
    case(
        "certificate is cut",
        "certificate is no certificate",
        "PEM text",
        with_certificate(CHAIN.replace("MII", "AAA", 1)),
    ),
    case("key in the certificate", "certificate holds a private key", "in the vault", with_certificate(CHAIN + KEY)),
    case("key is none", "certificate_key is no private key", "PEM text", with_certificate(key=CHAIN)),
    case(
        "key with a passphrase", "certificate_key has a passphrase", "without it", with_certificate(key=encrypted_key())
    ),
    case("key of another", "certificate_key is not the key", "belongs together", with_certificate(key=OTHER_KEY)),
    case(
        "chain in the wrong order", "certificate_key is not the key", "own first", with_certificate(OTHER_CHAIN + CHAIN)
    ),
    case("expired", "certificate expired on", "renew it", with_certificate(*expired())),
    case("expired in the chain", "certificate (certificate 2", "renew it", with_certificate(CHAIN + expired()[0])),
    case("not valid yet", "certificate is valid only from", "clock", with_certificate(*self_signed(begins=2))),
    case("names are a text", "server_names must", "a list", settings(server_names="glm.example.com")),
    *(
        case(f"name {name!r}", "server_names[0] is", "without port", settings(server_names=[name]))
        for name in ("glm.example.com:4000", "https://a", "a b", "*", "a.*.b", "", "*a.b", "::1", 7)
    ),
    case("networks are a text", "admin_networks must", "a list", settings(admin_networks="10.0.0.0/8")),
    *(
        case(f"network {network!r}", "admin_networks[0] is", "such as 10.0.0.0/8", settings(admin_networks=[network]))
        for network in ("10.0.0.0/33", "office", "10.0.0.0/8 or", 10, "")
    ),
]


@pytest.mark.parametrize(("given", "starts_with", "says"), FAULTS)
def test_a_fault_names_the_variable_and_the_fix(given: dict[str, Any], starts_with: str, says: str) -> None:
    found = faults(given)
    assert [fault for fault in found if fault.startswith(starts_with) and says in fault], found
    assert all(re.fullmatch(r"litellm_gateway_[^\n]+\.", fault) for fault in found)


@pytest.mark.parametrize("given", [case.values[0] for case in FAULTS])
def test_no_message_repeats_a_key(given: dict[str, Any]) -> None:
    text = "\n".join(faults(given) + warnings(given))
    lines = [line for pem in (KEY, OTHER_KEY) for line in pem.splitlines() if len(line) > 20]
    assert not [line for line in lines if line in text and "-----" not in line]


def test_all_faults_are_reported_at_once() -> None:
    assert len(faults(settings(port=0, host="x", rate_limit=-1, server_names=["*"]))) == 4


def test_absent_is_judged_by_nothing_else() -> None:
    given = settings(state="absent", port="x", certificate="y")
    assert (faults(given), warnings(given)) == ([], [])


def test_what_is_usual_gives_no_warning() -> None:
    assert warnings(settings()) == []
    assert warnings(with_certificate(server_names=["glm.example.com", "GLM.example.com"])) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (with_certificate(*self_signed(days=13)), "litellm_gateway_certificate expires on"),
        (with_certificate(CHAIN + self_signed(days=2)[0]), "(certificate 2 of the chain) expires on"),
        (with_certificate(server_names=["a.example.com"]), "does not name a.example.com"),
        (with_certificate(server_names=["*.example.com"]), "does not name *.example.com"),
        (settings(admin_networks=["0.0.0.0/0"]), "every client reaches admin"),
        (settings(admin_networks=["::/0"]), "every client reaches admin"),
    ],
)
def test_a_warning_says_what_should_be_known(given: dict[str, Any], says: str) -> None:
    assert faults(given) == []
    found = warnings(given)
    assert len(found) == 1 and says in found[0]


def test_a_wildcard_covers_its_names() -> None:
    chain, key = self_signed("*.example.com")
    assert warnings(with_certificate(chain, key, server_names=["a.example.com", "*.example.com"])) == []


# the variables, everywhere the same -------------------------------------------


def test_specification_and_defaults_have_the_same_variables() -> None:
    assert sorted(OPTIONS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_is_the_one_of_the_role(name: str) -> None:
    assert OPTIONS[name]["default"] == DEFAULTS[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_type_and_a_description_of_one_to_three_sentences(name: str) -> None:
    option = OPTIONS[name]
    assert option["type"] in {"str", "int", "bool", "list"}
    assert option["type"] != "list" or option["elements"] in {"str", "dict"}
    assert option["description"].endswith(".")
    assert 1 <= len(re.findall(r"\.(?:\s|$)", option["description"])) <= 3
    assert not {"choices", "required"} & set(option)


def test_the_key_is_marked_as_secret() -> None:
    assert {name for name, option in OPTIONS.items() if option.get("no_log")} == {
        "litellm_gateway_certificate_key",
        "litellm_gateway_virtual_password",
    }


def test_descriptions_say_what_the_validator_takes() -> None:
    assert all(f"`{state}`" in OPTIONS["litellm_gateway_state"]["description"] for state in STATES)
    assert all(f"`{scope}`" in OPTIONS["litellm_gateway_scope"]["description"] for scope in SCOPES)
    assert set(OPTIONS["litellm_gateway_servers"]["options"]) == SERVER_FIELDS
    for name in ("max_body_mb", "rate_limit", "header_timeout", "client_timeout", "answer_timeout", "max_connections"):
        lowest, highest = LIMITS[f"litellm_gateway_{name}"]
        assert f"{lowest} to {highest}" in OPTIONS[f"litellm_gateway_{name}"]["description"]


def test_filters_get_every_variable_that_they_read() -> None:
    source = (ROLE / "filter_plugins/litellm_gateway_validate.py").read_text()
    read = set(re.findall(r"settings\[\"(litellm_gateway_\w+)\"\]", source)) | set(LIMITS)
    assert read <= set(SETTINGS) <= set(DEFAULTS)
    assert {name: f"{{{{ {name} }}}}" for name in SETTINGS} == SETTINGS
    assert set(FilterModule().filters()) == {"litellm_gateway_faults", "litellm_gateway_warnings"}
