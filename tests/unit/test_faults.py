"""What a failed answer of the upstream means for the key and for the client."""

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_pool.faults import (
    DAY,
    FIVE_HOURS,
    Fault,
    Kind,
    connection,
    error_of,
    from_answer,
    from_success,
    reset_time,
    rest,
)

NOW = datetime(2026, 11, 5, 6, 0, tzinfo=timezone.utc).timestamp()
RESET = datetime(2026, 11, 5, 9, 30, 15, tzinfo=timezone.utc).timestamp()
RESET_MESSAGE = "Usage limit reached. Your limit will reset at 2026-11-05 17:30:15"

TRANSIENT = ("1302", "1303", "1305")
QUOTA = ("1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321")
ACCOUNT = ("1000", "1001", "1002", "1003", "1004", "1005", "1113", "1309", "1313", "1314", "1315")
NO_MODEL = ("1220", "1311")
REQUEST = ("1210", "1211", "1214", "1301")


def openai(code: object, message: str = "text") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def anthropic(code: object, message: str = "text", kind: str = "rate_limit_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "code": code, "message": message}}


def typed(code: object, message: str = "text") -> dict[str, Any]:
    """The code in place of Anthropic's type."""
    return {"type": "error", "error": {"type": code, "message": message}}


def plain(code: object, message: str = "text") -> dict[str, Any]:
    return {"code": code, "msg": message, "success": False}


def in_text(code: object, message: str = "text") -> dict[str, Any]:
    return {"type": "error", "error": {"type": "rate_limit_error", "message": f"[{code}][{message}][20261105]"}}


ENVELOPES = [openai, anthropic, typed, plain, in_text]
in_every_envelope = pytest.mark.parametrize("envelope", ENVELOPES)


def answer(status: int, body: object) -> Fault:
    return from_answer(status, json.dumps(body).encode(), NOW)


def traits(fault: Fault | None) -> tuple[Kind, str, int, bool]:
    assert fault
    return fault.kind, fault.code, fault.status, fault.of_model


# Codes -------------------------------------------------------------------------


@in_every_envelope
@pytest.mark.parametrize("status", [200, 429, 500])
@pytest.mark.parametrize("code", TRANSIENT)
def test_transient_codes_concern_the_model_and_are_429_for_the_client(code: str, status: int, envelope: Any) -> None:
    assert traits(answer(status, envelope(code))) == (Kind.TRANSIENT, code, 429, True)


@in_every_envelope
@pytest.mark.parametrize("status", [200, 429, 500])
@pytest.mark.parametrize("code", QUOTA)
def test_quota_codes_concern_the_whole_key_and_are_429_for_the_client(code: str, status: int, envelope: Any) -> None:
    assert traits(answer(status, envelope(code))) == (Kind.QUOTA, code, 429, False)


@in_every_envelope
@pytest.mark.parametrize(("status", "told"), [(200, 403), (401, 401), (429, 429), (500, 500)])
@pytest.mark.parametrize("code", ACCOUNT)
def test_account_codes_concern_the_whole_key(code: str, status: int, told: int, envelope: Any) -> None:
    assert traits(answer(status, envelope(code))) == (Kind.ACCOUNT, code, told, False)


@in_every_envelope
@pytest.mark.parametrize("code", NO_MODEL)
def test_codes_of_a_plan_without_the_model_concern_the_model_only(code: str, envelope: Any) -> None:
    assert traits(answer(403, envelope(code))) == (Kind.ACCOUNT, code, 403, True)


@in_every_envelope
@pytest.mark.parametrize(("status", "told"), [(200, 400), (400, 400), (404, 404), (429, 429)])
@pytest.mark.parametrize("code", REQUEST)
def test_request_codes_are_the_clients(code: str, status: int, told: int, envelope: Any) -> None:
    assert traits(answer(status, envelope(code))) == (Kind.REQUEST, code, told, False)


def test_message_is_kept_and_a_number_is_a_code_too() -> None:
    fault = answer(429, openai(1302, "Rate limit reached for requests"))
    assert (fault.code, fault.message) == ("1302", "Rate limit reached for requests")


@pytest.mark.parametrize(
    ("status", "kind", "told", "of_model"),
    [
        (301, Kind.SERVER, 502, False),
        (302, Kind.SERVER, 502, False),
        (400, Kind.REQUEST, 400, False),
        (401, Kind.ACCOUNT, 401, False),
        (402, Kind.ACCOUNT, 402, False),
        (403, Kind.SERVER, 502, False),  # a gateway's, as far as is known
        (404, Kind.REQUEST, 404, False),
        (413, Kind.REQUEST, 413, False),
        (422, Kind.REQUEST, 422, False),
        (429, Kind.TRANSIENT, 429, True),
        (500, Kind.SERVER, 500, False),
        (502, Kind.SERVER, 502, False),
        (503, Kind.SERVER, 503, False),
        (529, Kind.SERVER, 529, False),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>gateway</html>", b"[]", b"null", b"{}", b'{"error": null}', b'{"data": 1}', b"\xff\xfe{"]
)
def test_without_a_code_the_http_status_decides(
    status: int, kind: Kind, told: int, of_model: bool, body: bytes
) -> None:
    assert traits(from_answer(status, body, NOW)) == (kind, f"http_{status}", told, of_model)


def test_request_timeout_of_the_upstream_is_a_timeout() -> None:
    assert traits(from_answer(408, b"", NOW)) == (Kind.SERVER, "timeout", 504, False)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(400, "9999", Kind.REQUEST), (429, "9999", Kind.TRANSIENT), (500, "1234", Kind.SERVER), (401, "7", Kind.ACCOUNT)],
)
def test_unknown_code_is_kept_and_the_status_decides(status: int, code: str, kind: Kind) -> None:
    fault = answer(status, openai(code))
    assert (fault.kind, fault.code, fault.status) == (kind, code, status)


def test_status_that_stands_as_a_code_is_no_code() -> None:
    assert traits(answer(429, openai("429"))) == (Kind.TRANSIENT, "http_429", 429, True)
    assert traits(answer(200, openai("500"))) == (Kind.SERVER, "http_500", 500, False)
    assert traits(answer(429, openai("500"))) == (Kind.TRANSIENT, "http_429", 429, True)


@pytest.mark.parametrize(
    "message", ["[1302][Rate limit][x]", "error code: 1302", "code=1302", 'Code "1302"', "failed (code 1302)"]
)
def test_code_may_stand_in_the_message_alone(message: str) -> None:
    assert answer(429, {"error": {"message": message}}).code == "1302"
    assert answer(429, {"error": message}).code == "1302"


def test_code_that_a_message_only_quotes_does_not_count() -> None:
    quoting = {"error": {"message": "Invalid API parameter: 'as in [1113] and code 1308' is too long"}}
    assert answer(400, quoting).kind is Kind.REQUEST


@pytest.mark.parametrize("message", ["1302 tokens are too many", "[13020]", "[302]", "postcode 1302", "[2302]"])
def test_other_numbers_in_the_message_are_no_code(message: str) -> None:
    assert answer(400, {"error": {"message": message}}).code == "http_400"


def test_stated_code_counts_before_one_in_the_message() -> None:
    assert answer(400, openai("1210", "[1113] is not a tool")).kind is Kind.REQUEST


# Answers with status 200 ---------------------------------------------------------


@in_every_envelope
def test_success_with_an_error_in_it_counts_as_its_code(envelope: Any) -> None:
    assert traits(from_success(envelope("1305"), NOW)) == (Kind.TRANSIENT, "1305", 429, True)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "id": "x"},
        {"type": "message", "content": []},
        {"error": None, "choices": []},
        {"success": True, "code": 200, "msg": "ok"},
        {"input_tokens": 4},
        [],
        None,
        "error",
    ],
)
def test_answers_are_no_faults(body: object) -> None:
    assert from_success(body, NOW) is None


def test_success_without_a_known_code_is_a_failure_of_the_server() -> None:
    assert traits(from_success(plain("9999"), NOW)) == (Kind.SERVER, "9999", 502, False)
    assert traits(from_success({"error": {}}, NOW)) == (Kind.SERVER, "http_200", 502, False)


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("invalid_request_error", (Kind.REQUEST, "http_400", 400, False)),
        ("authentication_error", (Kind.ACCOUNT, "http_401", 401, False)),
        ("not_found_error", (Kind.REQUEST, "http_404", 404, False)),
        ("request_too_large", (Kind.REQUEST, "http_413", 413, False)),
        ("rate_limit_error", (Kind.TRANSIENT, "http_429", 429, True)),
        ("overloaded_error", (Kind.SERVER, "http_529", 529, False)),
        ("api_error", (Kind.SERVER, "http_200", 502, False)),
    ],
)
def test_error_event_without_a_code_counts_as_the_status_of_its_type(kind: str, meaning: object) -> None:
    assert traits(from_success({"type": "error", "error": {"type": kind, "message": "no"}}, NOW)) == meaning


def test_http_status_counts_before_the_errors_type() -> None:
    assert traits(answer(500, {"error": {"type": "invalid_request_error", "message": "no"}}))[:3] == (
        Kind.SERVER,
        "http_500",
        500,
    )


def test_error_of_reads_every_form() -> None:
    assert [error_of(envelope("1302", "no")) for envelope in (openai, anthropic, typed, plain)] == [("1302", "no")] * 4
    assert error_of({"success": False, "message": "no"}) == ("", "no")
    assert error_of({"success": False}) == ("", "")


# Reset times -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-05 17:30:15", RESET),
        ("2026-11-05T17:30:15", RESET),
        ("2026-11-05 17:30", RESET - 15),
        ("at 2026-11-05 17:30:15.", RESET),
        ("'2026-11-05 17:30:15'", RESET),
        ("since 2026-11-05 12:30:15 until 2026-11-05 17:30:15", RESET),
        ("2026-13-45 99:99:99, rather 2026-11-05 17:30:15", RESET),
    ],
)
def test_reset_time_is_read_as_utc_plus_8(text: str, moment: float) -> None:
    assert reset_time(text, NOW) == moment
    assert answer(429, openai("1308", text)).until == moment


@pytest.mark.parametrize("code", QUOTA)
def test_stated_reset_time_holds_for_every_quota_code(code: str) -> None:
    assert answer(429, anthropic(code, RESET_MESSAGE)).until == RESET


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-11-05",
        "2026-11-05 13:59:59",  # past
        "2026-11-05 14:00:00",  # now
        "2025-11-05 17:30:15",
        "2027-01-05 17:30:15",  # longer than any window
        "9999-12-31 23:59:59",
        "0000-00-00 00:00:00",
        "2026-02-30 10:00:00",
        "2026-11-05 24:30:00",
        "1762335000",
    ],
)
@pytest.mark.parametrize(
    ("code", "window"),
    [
        *((code, FIVE_HOURS) for code in ("1308", "1317", "1320")),
        *((code, DAY) for code in ("1310", "1316", "1318", "1319", "1321")),
    ],
)
def test_without_a_sensible_reset_time_the_window_of_the_code_holds(code: str, window: float, text: str) -> None:
    assert reset_time(text, NOW) is None
    assert answer(429, openai(code, f"Your limit will reset at {text}")).until == NOW + window


@pytest.mark.parametrize("code", [*TRANSIENT, *ACCOUNT, *NO_MODEL, *REQUEST])
def test_other_faults_have_no_end_however_their_message_reads(code: str) -> None:
    assert answer(429, openai(code, RESET_MESSAGE)).until is None


@settings(deadline=None)
@given(st.text())
def test_no_message_breaks_the_reading_of_reset_times(text: str) -> None:
    found = reset_time(text, NOW)
    assert found is None or found > NOW


@settings(deadline=None)
@given(st.integers(200, 599), st.binary())
def test_no_answer_breaks_the_judgement(status: int, body: bytes) -> None:
    fault = from_answer(status, body, NOW)
    assert fault.status >= 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "message", "type", "x"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["error", "code", "msg", "message", "success", "type"]), json_values))
def test_no_document_breaks_the_judgement(document: dict[str, Any]) -> None:
    fault = from_success(document, NOW)
    assert fault is None or fault.status >= 400


# Rests ---------------------------------------------------------------------------


def rests(fault: Fault, longest: float = 60.0, number: int = 8) -> list[float]:
    return [rest(fault, failures, longest) for failures in range(1, number + 1)]


def test_rest_of_an_overloaded_model_grows_to_two_minutes() -> None:
    assert rests(answer(429, openai("1305")), number=6) == [30, 60, 90, 120, 120, 120]


@pytest.mark.parametrize("code", ["1302", "1303"])
def test_rest_after_a_rate_limit_grows_to_half_a_minute(code: str) -> None:
    assert rests(answer(429, openai(code)), number=6) == [5, 10, 20, 30, 30, 30]


def test_rest_after_a_429_without_a_code_is_that_of_a_rate_limit() -> None:
    assert rests(from_answer(429, b"", NOW), number=5) == [5, 10, 20, 30, 30]


@pytest.mark.parametrize(
    "fault", [from_answer(502, b"", NOW), connection("refused"), connection("silence", timeout=True)]
)
def test_rest_after_failures_of_the_server_doubles_up_to_the_cooldown_time(fault: Fault) -> None:
    assert rests(fault) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert rests(fault, longest=3) == [1, 2, 3, 3, 3, 3, 3, 3]
    assert rest(fault, 100_000, 60.0) == 60


def test_connection_faults_are_the_servers() -> None:
    assert traits(connection("refused")) == (Kind.SERVER, "connection", 502, False)
    assert traits(connection("silence", timeout=True)) == (Kind.SERVER, "timeout", 504, False)
