"""TLS and plain HTTP on one port, redirects, protocols."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest

from tests.gateway.front import STRANGER, Front, read_all, unverified

TARGET = "/v1/messages?beta=true&x=%2F"


@pytest.mark.parametrize("own_port", [False, True], ids=["shared port", "port of its own"])
@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_both_protocols_are_spoken_over_tls(certified: Front, own_port: bool, option: str, version: str) -> None:
    port = certified.settings["litellm_gateway_tls_port"] if own_port else certified.port
    reply = certified.curl(TARGET, option, "--data", "{}", port=port)
    assert (reply.status, reply.headers[":version"]) == (200, version)
    told = dict(reply.json["headers"])
    assert (reply.json["target"], reply.json["body"], told["x-forwarded-for"]) == (TARGET, 2, STRANGER)
    assert (told["x-forwarded-port"], told["x-forwarded-proto"]) == (str(port), "https")


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
def test_both_protocols_are_spoken_without_tls(plain: Front, option: str) -> None:
    reply = plain.curl(TARGET, option, "--data", "{}")
    assert (reply.status, reply.headers[":version"]) == (200, "2" if "2" in option else "1.1")
    assert reply.json["target"] == TARGET


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_plain_http_on_the_port_of_tls_is_redirected(certified: Front, method: str) -> None:
    host = f"glm.example.com:{certified.port}"
    reply = certified.call(TARGET, method, host=host, tls=False, body=b"{}" if method == "POST" else None)
    assert (reply.status, reply.headers["location"]) == (308, f"https://{host}{TARGET}")


def test_a_client_that_follows_sends_the_same_again(certified: Front) -> None:
    reply = certified.curl(TARGET, "--location", "--data", "{}", scheme="http")
    assert (reply.status, reply.json["method"], reply.json["target"], reply.json["body"]) == (200, "POST", TARGET, 2)


def test_the_extra_port_redirects_to_the_port_of_tls(certified: Front) -> None:
    http_port, tls_port = (certified.settings[f"litellm_gateway_{name}_port"] for name in ("http", "tls"))
    reply = certified.call(TARGET, host=f"GLM.example.com:{http_port}", port=http_port, tls=False)
    assert (reply.status, reply.headers["location"]) == (308, f"https://glm.example.com:{tls_port}{TARGET}")


def test_a_redirect_needs_a_host(certified: Front) -> None:
    with certified.raw(b"GET /v1/models HTTP/1.0\r\n\r\n") as opened:
        assert read_all(opened).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("port", ["port", "tls_port"])
def test_old_versions_of_tls_are_refused(certified: Front, port: str) -> None:
    number = certified.settings[f"litellm_gateway_{port}"]
    for option, accepted in (("--tls-max=1.1", False), ("--tlsv1.2", True), ("--tlsv1.3", True)):
        command = [
            "curl",
            "--silent",
            "--insecure",
            "--output",
            "/dev/null",
            *option.split("="),
            f"https://127.0.0.1:{number}/",
        ]
        assert (subprocess.run(command, check=False).returncode == 0) is accepted, option


def test_a_handshake_in_small_parts_is_served(certified: Front) -> None:
    context = unverified()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", certified.port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    connection.sendall(bytes([byte]))
                incoming.write(connection.recv(65536))
        assert session.version() in ("TLSv1.2", "TLSv1.3")


def test_what_is_neither_tls_nor_http_is_refused(certified: Front) -> None:
    with certified.raw(b"\x16\x03\x01\x00\x05hello") as opened:
        assert b"HTTP" not in read_all(opened)
    with certified.raw(b"SSH-2.0-x\r\n\r\n") as opened:
        assert read_all(opened).startswith(b"HTTP/1.1 400 ")
    assert certified.call("/").status == 200
