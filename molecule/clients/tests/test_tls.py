"""The same over TLS, with a certificate of an authority that the clients are told to trust."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clients_support import CERTIFICATE, ROTATED
from curl_support import calls, statuses
from host_support import play
from sdk_cases import CASES
from workstation_support import SDKS, Workstation, events

SLOW = ("long_answer", "interrupted")
FEATURES = {
    # how much of a prompt is cached depends on which keys had it before
    client: [case.feature for case in cases if case.feature not in (*SLOW, "cache")]
    for client, cases in CASES.items()
}
HELLO = "simulated answer to: hello"


@pytest.fixture(scope="module")
def secure() -> Workstation:
    """The workstation, after the proxy has got its certificate."""
    done = play("site.yml", ROTATED, "--extra-vars", f"@{CERTIFICATE}")
    assert done.returncode == 0, done.stdout
    assert json.loads(CERTIFICATE.read_text())["litellm_gateway_certificate_key"] not in done.stdout
    return Workstation("https")


@pytest.fixture(scope="module")
def seen(secure: Workstation) -> Iterator[dict[str, dict[str, Any]]]:
    with ThreadPoolExecutor(2) as runs:
        yield dict(zip(SDKS, runs.map(lambda client: secure.features(client, FEATURES[client]), SDKS), strict=True))


@pytest.mark.parametrize("client", [pytest.param(name, marks=pytest.mark.cell(name, "tls")) for name in SDKS])
def test_every_feature_of_the_sdks(seen: dict[str, dict[str, Any]], client: str) -> None:
    for case in CASES[client]:
        if case.feature in FEATURES[client]:
            case.check(seen[client][case.feature])


@pytest.mark.cell("claude-code", "tls")
def test_claude_code(secure: Workstation) -> None:
    done = secure.claude("hello", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
    texts = [one["event"]["delta"].get("text", "") for one in events(done) if "delta" in one.get("event", {})]
    assert done.returncode == 0, done.stdout
    assert "".join(texts) == HELLO


@pytest.mark.cell("codex", "tls")
def test_codex(secure: Workstation) -> None:
    done = secure.codex("hello")
    assert HELLO in done.stdout, done.stdout + done.stderr


@pytest.mark.cell("curl", "tls")
def test_curl(secure: Workstation) -> None:
    found = calls(secure, "text", "stream", "models", "wrong_key")
    assert [statuses(answers) for answers in found.values()] == [[200, 200], [200, 200], [200], [401, 401]]


def test_a_client_that_does_not_trust_the_authority_sends_nothing(secure: Workstation) -> None:
    done = secure.run('unset CURL_CA_BUNDLE SSL_CERT_FILE; curl --silent --show-error "$OPENAI_BASE_URL/models"')
    assert done.returncode == 60
    assert "certificate" in done.stderr
