"""Errors as the clients of both APIs read them."""

import json

import pytest

from glm_pool.client_errors import ClientError, api_of, in_stream, of_request, unavailable
from glm_pool.faults import Fault, Kind
from glm_pool.tickets import Reason, Refusal

RATE = Fault(Kind.TRANSIENT, "1302", 429, "Rate limit reached", of_model=True)
QUOTA = Fault(Kind.QUOTA, "1308", 429, "Usage limit reached")
ACCOUNT = Fault(Kind.ACCOUNT, "1113", 429, "Insufficient balance")
BROKEN = Fault(Kind.SERVER, "http_502", 502, "")
SILENT = Fault(Kind.SERVER, "timeout", 504, "")


def refused(reason: Reason, retry_after: float | None = None, *faults: Fault) -> ClientError:
    return unavailable("glm-pool", Refusal(reason, retry_after), [(f"team-{n}", f) for n, f in enumerate(faults)])


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (422, "invalid_request_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "api_error", "api_error"),
        (503, "api_error", "api_error"),
        (504, "api_error", "api_error"),
        (529, "api_error", "overloaded_error"),
    ],
)
def test_error_has_the_form_of_the_clients_api(status: int, openai: str, anthropic: str) -> None:
    error = ClientError(status, "1210", "no")
    assert json.loads(error.body("openai")) == {
        "error": {"message": "no", "type": openai, "param": None, "code": "1210"}
    }
    assert json.loads(error.body("anthropic")) == {
        "type": "error",
        "error": {"type": anthropic, "code": "1210", "message": "no"},
    }


def test_error_event_has_the_form_of_the_clients_api() -> None:
    error = ClientError(429, "1302", "zu viel:\nüber\n\nall")
    openai, anthropic = error.event("openai"), error.event("anthropic")
    assert openai == b"data: " + error.body("openai") + b"\n\n"
    assert anthropic == b"event: error\ndata: " + error.body("anthropic") + b"\n\n"
    assert openai.count(b"\n\n") == anthropic.count(b"\n\n") == 1
    assert json.loads(error.body("openai"))["error"]["message"] == "zu viel:\nüber\n\nall"


def test_headers_say_when_to_try_again_where_that_helps() -> None:
    assert ClientError(429, "x", "").headers() == {"content-type": "application/json"}
    assert ClientError(429, "x", "", 7).headers() == {"content-type": "application/json", "retry-after": "7"}


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/anthropic/v1/messages/", "anthropic"),
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/completions", "openai"),
    ],
)
def test_path_tells_the_clients_api(path: str, api: str) -> None:
    assert api_of(path) == api


def test_fault_of_the_request_is_told_as_the_upstream_tells_it() -> None:
    assert of_request(Fault(Kind.REQUEST, "1210", 400, "max_tokens is invalid")) == ClientError(
        400, "1210", "max_tokens is invalid"
    )
    assert of_request(Fault(Kind.REQUEST, "http_413", 413, "")).message == "The upstream refused the request."


def test_broken_answer_is_told_with_its_code() -> None:
    assert in_stream(RATE) == ClientError(429, "1302", "The upstream broke off the answer (1302): Rate limit reached")
    assert in_stream(SILENT).message == "The upstream broke off the answer (timeout)"


@pytest.mark.parametrize("reason", [Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.RESTING])
@pytest.mark.parametrize(("seconds", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (17.2, 18), (18000.0, 18000)])
def test_client_is_told_to_come_back_no_sooner_than_the_key_does(reason: Reason, seconds: float, told: int) -> None:
    error = refused(reason, seconds)
    assert (error.status, error.code, error.retry_after) == (429, reason.value, told)
    assert error.message.startswith(("Pool glm-pool ", "Every key of pool glm-pool "))
    assert error.message.endswith(f"Try again in {told} s.")


def test_pool_without_a_key_in_service_is_a_matter_of_its_operator() -> None:
    error = refused(Reason.NO_KEY)
    assert (error.status, error.retry_after) == (503, None)
    assert "operator" in error.message


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ([RATE], 429),
        ([QUOTA], 429),
        ([RATE, BROKEN], 429),
        ([ACCOUNT, QUOTA], 429),
        ([BROKEN], 502),
        ([BROKEN, SILENT], 504),
        ([SILENT, ACCOUNT], 504),
        ([ACCOUNT], 503),
        ([ACCOUNT, ACCOUNT], 503),
        ([], 503),
    ],
)
@pytest.mark.parametrize("seconds", [None, 12.0])
def test_request_that_failed_with_every_key_tells_what_they_said(
    faults: list[Fault], status: int, seconds: float | None
) -> None:
    error = refused(Reason.TRIED, seconds, *faults)
    assert (error.status, error.code) == (status, "every_key_failed")
    assert error.retry_after == seconds
    for number, fault in enumerate(faults):
        assert f"team-{number}: {fault.code}" in error.message
    assert ("Try again in 12 s." in error.message) == (seconds is not None)
