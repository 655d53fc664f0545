"""What clients may not say in a request's body, and whose session a request is."""

import json
from types import ModuleType

import pytest
from pool_parts import OWNED, plug_in


def words(text: str) -> list[str]:
    return text.split()


OPENAI = words("""
    model messages stream stream_options temperature top_p top_k n stop max_tokens max_completion_tokens
    presence_penalty frequency_penalty logit_bias logprobs top_logprobs user seed response_format tools tool_choice
    parallel_tool_calls functions function_call reasoning_effort reasoning verbosity modalities audio prediction
    service_tier store metadata web_search_options prompt_cache_key prompt_cache_retention safety_identifier
    prompt_cache_options moderation prompt suffix echo best_of
""")
ZAI = words("""
    thinking do_sample request_id user_id tool_stream sensitive_word_check watermark_enabled
""")
ANTHROPIC = words("""
    system stop_sequences thinking container mcp_servers context_management output_config output_format betas speed
    inference_geo cache_control anthropic_version anthropic_beta
""")
RESPONSES = words("""
    input instructions include previous_response_id conversation background max_output_tokens max_tool_calls text
    truncation prompt_cache_key reasoning image access_programs background_options client_metadata
""")
TRACING = ["litellm_metadata", "litellm_session_id", "litellm_trace_id", "tags", "id"]
CLIENTS = sorted({*OPENAI, *ZAI, *ANTHROPIC, *RESPONSES, *TRACING})

ADDRESSES = ["api_base", "base_url", "api_key", "api_version", "organization", "custom_llm_provider"]
EXTRAS = ["extra_headers", "extra_body", "extra_query", "headers", "client", "proxy_server_request"]
RETRIES = ["num_retries", "max_retries", "timeout", "stream_timeout", "fallbacks", "disable_fallbacks"]
RETRIES += ["default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks"]
ROUTES = ["specific_deployment", "deployment_id", "user_config", "router_settings_override"]
MOCKS = ["mock_response", "mock_delay", "mock_tool_calls", "mock_testing_fallbacks", "mock_testing_rate_limit_error"]
OPERATORS = [*ADDRESSES, *EXTRAS, *RETRIES, *ROUTES, *MOCKS]


@pytest.fixture
def body(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return plug_in("body", monkeypatch)


@pytest.mark.parametrize("name", CLIENTS)
def test_fields_of_the_apis_are_kept(body: ModuleType, name: str) -> None:
    content = json.dumps({name: {"a": 1}}).encode()
    assert body.cleaned(content) == (content, [])


@pytest.mark.parametrize("name", sorted({*OPERATORS, *OWNED} - set(CLIENTS)))
def test_fields_of_the_operator_are_dropped(body: ModuleType, name: str) -> None:
    content = json.dumps({"model": "glm-5.3", name: "x", "stream": True}).encode()
    left, dropped = body.cleaned(content)
    assert (json.loads(left), dropped) == ({"model": "glm-5.3", "stream": True}, [name])


def test_fields_that_litellm_keeps_to_itself_are_dropped(body: ModuleType) -> None:
    assert body.cleaned(b'{"_litellm_internal": 1}') == (b"{}", ["_litellm_internal"])


@pytest.mark.parametrize(
    "content",
    [
        rb'{"\u0061pi_key": "x"}',
        rb'{"api\u005fkey": "x"}',
        b'{"api_key": "x", "api_key": "y"}',
        b' \n{"api_key"\t:null}\n',
        b'{"api_key": {"api_key": []}}',
    ],
)
def test_fields_are_found_however_they_are_written(body: ModuleType, content: bytes) -> None:
    assert body.cleaned(content) == (b"{}", ["api_key"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_fields_are_found_in_what_only_a_lenient_reader_takes(body: ModuleType, number: str) -> None:
    content = f'{{"temperature": {number}, "api_key": "x", "user": "\\ud800"}}'.encode()
    left, dropped = body.cleaned(content)
    assert dropped == ["api_key"]
    assert left == f'{{"temperature": {number}, "user": "\\ud800"}}'.encode()


def test_names_count_at_the_top_of_the_body_only(body: ModuleType) -> None:
    content = json.dumps({"tools": [{"input_schema": {"properties": {"api_key": {}}}}], "metadata": {"tags": []}})
    assert body.cleaned(content.encode()) == (content.encode(), [])


def test_everything_else_of_the_body_survives(body: ModuleType) -> None:
    kept = {
        "model": "glm-5.3",
        "messages": [{"content": 'Grüße \u2028 \\ " 😀'}],
        "temperature": 0.1,
        "n": 2**53,
        "a": None,
    }
    left, dropped = body.cleaned(json.dumps({"api_key": "x", **kept, "timeout": 1}).encode())
    assert json.loads(left) == kept
    assert sorted(dropped) == ["api_key", "timeout"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'["api_key"]', b'"api_key"', b"null", b"7", b"\xff{}", b"api_key=x", b"[" * 100_000]
)
def test_body_that_is_no_object_stays_as_it_is(body: ModuleType, content: bytes) -> None:
    assert body.cleaned(content) == (content, [])


# Sessions -------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-session-id", "x-claude-code-session-id", "session-id", "session_id"])
def test_session_stands_in_a_header(body: ModuleType, header: str) -> None:
    assert body.session_of({header: "s-1"}, {"metadata": {"user_id": "user_x_session_s-2"}}) == "s-1"


@pytest.mark.parametrize(
    ("user", "session"),
    [
        ("user_0123abcd_account__session_6f1c-44", "6f1c-44"),
        ("a_session_b_session_c", "c"),
        ('{"device_id": "d", "session_id": "6f1c"}', "6f1c"),
        ('{"session_id": 7}', "7"),
        ('{"session_id": ""}', None),
        ('{"device_id": "d"}', None),
        ("{broken", None),
        ("somebody", None),
        ("", None),
        (7, None),
        (None, None),
        ({"session_id": "x"}, None),
    ],
)
def test_session_stands_in_what_claude_code_calls_the_user(body: ModuleType, user: object, session: str | None) -> None:
    assert body.session_of({}, {"metadata": {"user_id": user}}) == session


@pytest.mark.parametrize("document", [{}, {"metadata": None}, {"metadata": "x"}, {"metadata": []}, {"metadata": {}}])
def test_request_may_belong_to_no_session(body: ModuleType, document: dict[str, object]) -> None:
    assert body.session_of({"x-session-id": ""}, document) is None


@pytest.mark.parametrize("field", ["metadata", "litellm_metadata"])
@pytest.mark.parametrize("as_text", [False, True], ids=["mapping", "text"])
def test_names_that_litellm_refuses_are_dropped_within_metadata(body: ModuleType, field: str, as_text: bool) -> None:
    inner = {"user_id": "u", "langfuse_host": "http://elsewhere", "api_base": "http://elsewhere"}
    content = {"model": "m", field: json.dumps(inner) if as_text else inner}
    cleaned, dropped = body.cleaned(json.dumps(content).encode())
    assert json.loads(cleaned) == {"model": "m", field: {"user_id": "u"}}
    assert dropped == [f"{field}.langfuse_host", f"{field}.api_base"]


def test_names_that_litellm_refuses_are_dropped(body: ModuleType) -> None:
    assert body.cleaned(b'{"azure_ad_token": "x", "model": "m"}') == (b'{"model":"m"}', ["azure_ad_token"])
