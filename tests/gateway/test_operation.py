"""The log, the metrics and the state of servers."""

from __future__ import annotations

import http.client
import subprocess
import urllib.request

import pytest

from tests.certificates import self_signed
from tests.gateway.front import HAPROXY, STRANGER, Front, running_front, wait_until

SECRETS = ("sk-bearer-secret", "sk-header-secret", "sk-query-secret", "sk-cookie-secret", "sk-body-secret")


def test_a_request_is_one_json_line_without_a_secret(front: Front) -> None:
    bearer, header, query, cookie, body = SECRETS
    target = f"/v1/responses/{'tls' if front.tls else 'plain'}-logged"
    headers = {"Authorization": f"Bearer {bearer}", "x-api-key": header, "Cookie": f"a={cookie}", "User-Agent": "x"}
    reply = front.call(f"{target}?api_key={query}", "POST", headers=headers, body=body.encode())
    line = front.logged(target)
    assert (line["client"], line["method"], line["path"], line["status"]) == (STRANGER, "POST", target, 200)
    assert (line["host"], line["server"], line["version"]) == ("127.0.0.1", reply.json["server"], "HTTP/1.1")
    assert (line["tls"].startswith("TLSv1."), line["end"], line["retries"]) == (front.tls, "--", "0")
    assert line["bytes"] > 0 and line["time"] > 1_700_000_000 and min(line["ms"].values()) >= 0
    assert [secret for secret in SECRETS if secret in front.log_text()] == []


def test_what_the_front_refuses_is_logged_too(plain: Front) -> None:
    plain.call("/metrics/refused?token=sk-query-secret")
    line = plain.logged("/metrics/refused")
    assert (line["status"], line["server"]) == (403, "<NOSRV>")
    assert "sk-query-secret" not in plain.log_text()


def test_no_request_breaks_the_format_of_the_log(plain: Front) -> None:
    plain.call('/v1/models/"quo\\te"')
    plain.call("/v1/models/" + "l" * 5000)
    plain.call("/v1/models/last", "BREW", host="h" * 3000)
    with plain.raw(b"\x00\x01broken\r\n\r\n") as opened:
        opened.recv(100)
    assert plain.logged('/v1/models/"quo\\te"')["status"] == 403
    assert plain.logged("more-than-512-characters")["host"] == "127.0.0.1"
    assert plain.logged("/v1/models/last")["host"] == "more-than-255-characters"


def test_metrics_are_on_loopback_only_and_on_one_path(plain: Front) -> None:
    port = plain.settings["litellm_gateway_metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'haproxy_server_check_status{proxy="litellm_proxy",server="a"' in text
    assert plain.call("/", port=port).status == 404
    assert f"bind 127.0.0.1:{port}\n" in plain.config.read_text()


def test_no_metrics_without_a_port() -> None:
    with running_front(metrics_port=0) as front:
        assert "prometheus" not in front.config.read_text()
        assert front.call("/").status == 200


EVERYTHING = {
    "server_names": ["glm.example.com", "*.example.org"],
    "rate_limit": 60,
    "tls_port": 8443,
    "http_port": 8080,
    "admin_networks": ["10.0.0.0/8", "fd00::/8"],
}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "::1"])
@pytest.mark.parametrize("pem", ["", "".join(self_signed())], ids=["plain", "tls"])
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_haproxy_takes_the_config_without_a_warning(host: str, pem: str, changes: dict[str, object]) -> None:
    with running_front(pem, start=False, **(changes | {"host": host})) as front:
        front.control("prepare", check=True)
        checked = subprocess.run([HAPROXY, "-c", "-f", front.config], capture_output=True, text=True, check=False)
        said = checked.stdout + checked.stderr
        assert checked.returncode == 0 and "WARNING" not in said, said


def test_a_front_for_both_families_knows_ipv4_clients_by_their_address() -> None:
    with running_front(host="::") as front:
        assert (front.call("/metrics").status, front.call("/metrics", source="127.0.0.1").status) == (403, 200)


def test_a_server_is_taken_out_of_rotation_and_into_it() -> None:
    with running_front() as front:
        server = front.server("a")
        assert server.up() and not front.drained("a")
        server.tell("drain")
        assert front.drained("a")
        assert {front.call("/v1/models").json["server"] for _ in range(6)} == {"b"}
        server.tell("ready")
        assert {front.call("/v1/models").json["server"] for _ in range(6)} == {"a", "b"}


def test_a_stopped_server_can_be_taken_for_down_before_its_health_check_does() -> None:
    with running_front() as front:
        server = front.server("a")
        front.a.close()
        assert server.up()
        server.tell("drain", down=True)
        assert not server.up()
        front.a.listen()
        wait_until(server.up, "it is up by its health check")


def test_a_process_of_before_a_reload_is_counted_and_cut_too() -> None:
    # it can not be told anything: its requests go to the one after it
    with running_front() as front:
        front.ask("set server litellm_proxy/b state drain")
        connection = front.connect()
        connection.request("POST", "/v1/messages?do=gate", b"{}")
        response = connection.getresponse()
        assert response.readline() == b"first\n"
        assert front.reload().returncode == 0
        server = front.server("a")
        server.tell("drain")
        assert server.running() == 1
        server.cut()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        connection.close()
        wait_until(lambda: server.running() == 0, "the process of before ends")
