"""Which requests reach an instance, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.front import ADMIN, STRANGER, Front, running_front

OPEN = [
    f"{prefix}{route}"
    for prefix in ("", "/v1")
    for route in (
        "/chat/completions",
        "/completions",
        "/messages",
        "/messages/count_tokens",
        "/responses",
        "/responses/resp_1/input_items",
        "/models",
        "/models/glm-5.3",
        "/models/zai%2Fglm-5.3",
        "/models/zai:glm.5",
    )
] + ["/v1/messages?beta=true", "/health/liveliness?x", "/health/liveness", "/health/readiness"]
CLOSED = [
    "/health",
    "/health/",
    "/metrics",
    "/metrics/",
    "/pool/status",
    "/ui",
    "/docs",
    "/openapi.json",
    "/key/generate",
    "/v1",
    "/v1/",
    "/v1/embeddings",
    "/v2/messages",
    "/index.html",
    # another spelling of an open route is not that route
    "/V1/models",
    "/v1/Models",
    "/v1/models/",
    "/v1/chat/completions/",
    "/v1/chat/completionsx",
    "/v1/chat",
    # what a server behind might resolve to another path
    "//metrics",
    "//v1/models",
    "/v1//models",
    "/v1/models//metrics",
    "/./metrics",
    "/v1/models/../../metrics",
    "/v1/models/..",
    "/v1/models/.",
    "/v1/messages/./x",
    "/v1/models/%2e%2e/%2E%2e/metrics",
    "/v1/models/%2e%2e%2f%2e%2e%2fmetrics",
    "/v1/models/..%2f..%2fmetrics",
    "/v1/models/%252e%252e/metrics",
    "/v1/models/..%5c..%5cmetrics",
    "/v1/models/..\\metrics",
    "/v1/models/..;/metrics",
    "/v1/models/%3f",
    "/%761/models",
    "/metrics?/v1/models",
    "/metrics%3f/v1/models",
    "/health/liveliness/../../metrics",
    "http://127.0.0.1/metrics",
    "http://127.0.0.1//v1/models/",
]
ADMIN_ROUTES = ["/metrics", "/pool/status", "/health", "/ui/", "/key/generate", "/v1/embeddings"]


@pytest.mark.parametrize("target", OPEN)
def test_api_and_health_routes_are_open_to_everybody(plain: Front, target: str) -> None:
    reply = plain.call(target, "POST", body=b"{}")
    assert (reply.status, reply.json["target"], reply.json["body"]) == (200, target, 2)


@pytest.mark.parametrize("target", CLOSED)
def test_everything_else_is_closed_to_strangers(plain: Front, target: str) -> None:
    host = "127.0.0.1" if target.startswith("http") else None
    reply = plain.call(target, host=host)
    assert (reply.status, reply.code) == (403, "route_not_open")


@pytest.mark.parametrize("target", [target for target in CLOSED if "http" not in target])
def test_everything_else_is_closed_over_http2(plain: Front, target: str) -> None:
    reply = plain.curl(target, "--http2-prior-knowledge")
    assert (reply.status, reply.headers[":version"], reply.code) == (403, "2", "route_not_open")


@pytest.mark.parametrize("target", ADMIN_ROUTES)
def test_admin_networks_reach_every_route(plain: Front, target: str) -> None:
    assert plain.call(target, source=ADMIN).json["target"] == target


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"])
def test_a_header_makes_nobody_an_admin(front: Front, name: str) -> None:
    value = f"for={ADMIN}" if name == "Forwarded" else ADMIN
    assert front.call("/metrics", headers={name: value}).status == 403


def test_an_absolute_uri_reaches_the_instance_as_a_path(plain: Front) -> None:
    reply = plain.call("http://127.0.0.1/v1/models?a=b", host="127.0.0.1")
    assert (reply.status, reply.json["target"]) == (200, "/v1/models?a=b")


def test_a_uri_and_a_host_that_differ_are_refused(plain: Front) -> None:
    assert plain.call("http://elsewhere/v1/models", host="127.0.0.1").status == 400


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
@pytest.mark.parametrize("source", [ADMIN, STRANGER])
def test_methods_of_proxies_are_refused(plain: Front, method: str, source: str) -> None:
    target = "127.0.0.1:22" if method == "CONNECT" else "/v1/models"
    assert plain.call(target, method, host="127.0.0.1:22", source=source).status == 405


def test_options_of_the_server_itself_is_closed(plain: Front) -> None:
    assert plain.call("*", "OPTIONS").status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_is_answered_by_the_front_itself(front: Front, method: str) -> None:
    reply = front.call("/", method)
    assert (reply.status, reply.body) == (200, b'{"status":"ok"}' if method == "GET" else b"")


def test_the_root_takes_nothing(plain: Front) -> None:
    assert plain.call("/", "POST", body=b"{}").status == 403


def test_a_malformed_request_is_refused(plain: Front) -> None:
    # in HAProxy's own words, which cannot be changed where there is no request yet
    opened = plain.raw(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n")
    assert opened.recv(65536).startswith(b"HTTP/1.1 400 ")
    opened.close()


def header(reply: Any, name: str) -> list[str]:
    return [value for one, value in reply.json["headers"] if one == name]


def test_the_instance_is_told_who_asks_and_nothing_that_the_client_made_up(front: Front) -> None:
    lies = {
        "X-Forwarded-For": "10.1.1.1",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Server": "x",
        "Forwarded": "for=10.1.1.1",
        "X-Real-IP": "10.1.1.1",
    }
    reply = front.call("/v1/models", headers=lies)
    assert header(reply, "x-forwarded-for") == [STRANGER]
    assert header(reply, "x-forwarded-proto") == ["https" if front.tls else "http"]
    assert header(reply, "x-forwarded-port") == [str(front.port)]
    assert header(reply, "x-forwarded-host") == [f"127.0.0.1:{front.port}"] == header(reply, "host")
    assert [header(reply, name) for name in ("x-forwarded-server", "forwarded", "x-real-ip")] == [[], [], []]


def test_credentials_reach_the_instance(front: Front) -> None:
    reply = front.call("/v1/models", headers={"Authorization": "Bearer sk-1", "x-api-key": "sk-2"})
    assert (header(reply, "authorization"), header(reply, "x-api-key")) == (["Bearer sk-1"], ["sk-2"])


def test_only_the_named_hosts_are_served() -> None:
    with running_front(server_names=["GLM.example.com", "*.corp.example"]) as front:
        for host in (
            "glm.example.com",
            "Glm.Example.Com:4000",
            "glm.example.com.",
            "a.corp.example",
            "a.b.CORP.example:1",
        ):
            assert front.call("/v1/models", host=host).status == 200, host
        for host in ("example.com", "glm.example.com.evil", "corp.example", "xcorp.example", "127.0.0.1", "[::1]:4000"):
            for target in ("/v1/models", "/", "/metrics"):
                reply = front.call(target, host=host)
                assert (reply.status, reply.code) == (421, "unknown_host"), host
        opened = front.raw(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert opened.recv(65536).startswith(b"HTTP/1.1 421 ")
        opened.close()
        assert front.curl("/v1/models", "--http2-prior-knowledge", "--header", "Host: glm.example.com").status == 200
        assert front.curl("/v1/models", "--http2-prior-knowledge", "--header", "Host: evil.example").status == 421


def test_without_admin_networks_nobody_is_an_admin() -> None:
    with running_front(admin_networks=[]) as front:
        assert front.call("/metrics", source=ADMIN).status == 403
