"""What clients may not say in a request's body: settings of LiteLLM that are the operator's."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from litellm.proxy.auth import auth_utils
from litellm.types.utils import is_litellm_owned_kwarg

CLIENTS_OWN = {
    "metadata",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "tags",
    "id",
    "client_metadata",
}
"""Names that LiteLLM counts as its own and that clients use to good purpose."""
OPERATORS = {
    "api_base",
    "api_key",
    "api_version",
    "base_url",
    "client",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "custom_llm_provider",
    "default_fallbacks",
    "deployment_id",
    "disable_fallbacks",
    "extra_body",
    "extra_headers",
    "extra_query",
    "fallbacks",
    "headers",
    "litellm_embedding_config",
    "litellm_params",
    "max_retries",
    "mock_delay",
    "mock_response",
    "mock_testing_content_policy_fallbacks",
    "mock_testing_context_fallbacks",
    "mock_testing_fallbacks",
    "mock_testing_rate_limit_error",
    "mock_tool_calls",
    "num_retries",
    "organization",
    "priority",
    "proxy_server_request",
    "router_settings_override",
    "specific_deployment",
    "stream_timeout",
    "timeout",
    "user_config",
}
"""Names that route, address or authenticate, whether LiteLLM lists them or not."""
REFUSED = frozenset(getattr(auth_utils, "_BANNED_REQUEST_BODY_PARAMS", ()))
"""Names that LiteLLM itself refuses, by a bare status 500."""
NESTED = ("metadata", "litellm_metadata")
"""Fields within which LiteLLM refuses the same names."""
HEADERS = {b"x-litellm-timeout", b"x-litellm-stream-timeout", b"x-litellm-num-retries"}
"""Request headers to the same effect."""


def is_operators(name: str) -> bool:
    """Whether a field of a body is not the client's to set."""
    return name in OPERATORS or name in REFUSED or (name not in CLIENTS_OWN and bool(is_litellm_owned_kwarg(name)))


def cleaned(body: bytes) -> tuple[bytes, list[str]]:
    """The body without the operator's fields, and their names; a body that is no JSON object stays as it is."""
    strict = True
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        strict = False
        try:
            document = json.loads(body)  # LiteLLM's second try too, which takes NaN
        except (ValueError, RecursionError):
            return body, []
    if not isinstance(document, dict):
        return body, []
    dropped = [name for name in document if is_operators(name)]
    kept = {name: value for name, value in document.items() if name not in dropped}
    for field in NESTED:
        inner, names = _cleaned_within(kept.get(field))
        if names:
            kept[field] = inner
            dropped += [f"{field}.{name}" for name in names]
    if not dropped:
        return body, []
    return orjson.dumps(kept) if strict else json.dumps(kept).encode(), dropped


def _cleaned_within(value: Any) -> tuple[Any, list[str]]:
    """A mapping, or the text of one, without the names that LiteLLM refuses; and these names."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value, []
    if not isinstance(value, dict):
        return value, []
    names = [name for name in value if name in OPERATORS or name in REFUSED]
    return {name: inner for name, inner in value.items() if name not in names}, names


def session_of(headers: Mapping[str, str], document: Mapping[str, Any]) -> str | None:
    """The session that a request belongs to.

    Claude Code names it in a header or in `metadata.user_id`, which ends with `_session_<id>` or is JSON with
    `session_id`; other clients send `x-session-id`.
    """
    for name in ("x-session-id", "x-claude-code-session-id", "session-id", "session_id"):
        if headers.get(name):
            return headers[name]
    metadata = document.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if not isinstance(user, str):
        return None
    if user.startswith("{"):
        try:
            found = orjson.loads(user).get("session_id")
        except orjson.JSONDecodeError:
            return None
        return str(found) if found else None
    _, marker, session = user.rpartition("_session_")
    return session if marker else None
