"""What each SDK gives for each feature through the proxy, and in words what differs from the API it was made for."""

from dataclasses import dataclass
from typing import Any

from host_support import SERVED_MODELS

NO_ROUTE = "not offered: the gateway answers 403 (`route_not_open`), the SDKs' PermissionDeniedError"
ONE_CHOICE = (
    "differs: `n`, `seed`, `logprobs`, the penalties, `logit_bias` and `user` are dropped: one choice comes back"
)
UNKNOWN = "differs: 400 (BadRequestError) where OpenAI and Anthropic say 404 (NotFoundError)"
NO_MEMORY = "not offered: `previous_response_id` gives 400 (BadRequestError): send the whole conversation"
NOT_KEPT = "not offered: answers are not kept, and cannot be fetched again"
SCHEMA = "differs: the schema reaches Z.AI, whose API has `json_object` alone: check what comes back"
EFFORT = "differs: reasoning comes as `reasoning_content`; `reasoning_effort` is dropped, and GLM-5.3 always reasons"
READ_ONLY = "differs: Z.AI caches by itself, for each key; `cached_tokens` tells when it did"
EACH_KEY = "differs: each of the pool's keys has a cache of its own, so a prompt is written as often as there are keys"
NO_FILES = "not offered: Z.AI's OpenAI API takes no files and says 400 (BadRequestError)"
NOT_COUNTED = "not offered: `/v1/responses/input_tokens` gives 403 (PermissionDeniedError); Anthropic's counting works"
NO_TOOLS = "not offered: Z.AI runs no tools of OpenAI's or Anthropic's; it answers without them"
NO_FIELD = "no function: neither Anthropic's API nor its SDK has it"


@dataclass(frozen=True)
class Case:
    """One feature of one client.

    Attributes:
        feature: name of the row.
        wanted: what it gives, or the class and status of the error.
        note: what differs from the real API, if anything.
    """

    feature: str
    wanted: Any
    note: str = ""

    def check(self, found: Any) -> None:
        """Compare, with an error by its class and status."""
        if isinstance(found, dict) and "error" in found and isinstance(self.wanted, tuple):
            assert (found["error"], found["status"]) == self.wanted, found
        else:
            assert found == self.wanted


HELLO = "simulated answer to: hello"
RAIN = "simulated answer after tool result: rain"
TWO_CITIES = [["Bonn", "Ulm"], RAIN]
BY_NAME = [[name, name, HELLO] for name in ("glm-flash", "glm-5.3", "claude-sonnet-4-20250514", "claude-opus-5-5")]
CLOSED = ["embeddings", "files", "batches", "speech", "images", "moderations"]


def openai_cases() -> list[Case]:
    """What both OpenAI SDKs give."""
    return [
        Case("text", [HELLO, "stop", "glm-pool"]),
        Case("stream", [HELLO, True, True]),
        Case("tools", ["tool_calls", "weather", {"city": "Bonn"}, RAIN]),
        Case("tool_loop", TWO_CITIES),
        Case("forced_tool", ["tool_calls", ["weather"]]),
        Case("json_output", {"simulated": True, "answer_to": "as JSON"}),
        Case("structured_output", {"simulated": True, "answer_to": "as JSON"}, SCHEMA),
        Case("images", ["simulated answer to: what is this", True]),
        Case("documents", ("BadRequestError", 400), NO_FILES),
        Case("models", SERVED_MODELS),
        Case("names", BY_NAME),
        Case("count_tokens", ("PermissionDeniedError", 403), NOT_COUNTED),
        Case("long_answer", [5000, "stop"]),
        Case("limited_answer", ["length", 50]),
        Case("new_limit", ["length", 50]),
        Case("fields", [1, False], ONE_CHOICE),
        Case("responses_memory", ("BadRequestError", 400), NO_MEMORY),
        Case("responses_stored", ("PermissionDeniedError", 403), NOT_KEPT),
        Case("beta", HELLO),
        Case("server_tools", ["reasoning", "message"], NO_TOOLS),
        Case("cache", [True, True], READ_ONLY),
        Case("other_apis", [dict.fromkeys(CLOSED, "PermissionDeniedError")], NO_ROUTE),
        Case("wrong_key", ("AuthenticationError", 401)),
        Case("unknown_model", ("BadRequestError", 400), UNKNOWN),
        Case("bad_request", ("BadRequestError", 400)),
        Case("interrupted", ["assistant", HELLO]),
    ]


OPENAI_PYTHON = [
    *openai_cases(),
    Case("thinking", [True, True], EFFORT),
    Case("responses", [HELLO, "completed", HELLO, "response.completed", {"city": "Bonn"}, RAIN]),
]
OPENAI_TYPESCRIPT = [
    *openai_cases(),
    Case("thinking", True, EFFORT),
    Case("responses", [HELLO, "completed", HELLO, "response.completed"]),
]
ANTHROPIC_PYTHON = [
    Case("text", [HELLO, "end_turn", "glm-pool"]),
    Case("stream", [HELLO, True, True]),
    Case("tools", ["tool_use", "weather", {"city": "Bonn"}, RAIN]),
    Case("tool_loop", TWO_CITIES),
    Case("forced_tool", ["tool_use", ["weather"]]),
    Case("json_output", False, NO_FIELD),
    Case(
        "structured_output",
        ("JSONDecodeError", None),
        "not offered: `output_config.format` reaches Z.AI, which answers in plain words",
    ),
    Case("thinking", ["thinking", True, True, "simulated answer to: go on"]),
    Case("images", ["simulated answer to: what is this", True]),
    Case("documents", "simulated answer to: read"),
    Case("models", SERVED_MODELS),
    Case("names", BY_NAME),
    Case("count_tokens", True),
    Case("cache", [[True, True], [True, True]], EACH_KEY),
    Case("long_answer", [5000, "end_turn"]),
    Case("limited_answer", ["max_tokens", 50]),
    Case("new_limit", False, NO_FIELD),
    Case("fields", [], NO_FIELD),
    Case("responses", False, NO_FIELD),
    Case("responses_memory", False, NO_FIELD),
    Case("responses_stored", False, NO_FIELD),
    Case("beta", HELLO),
    Case("server_tools", ["text"], NO_TOOLS),
    Case(
        "other_apis",
        [{"batches": "NotFoundError", "files": "PermissionDeniedError"}],
        "not offered: batches give 404 (NotFoundError), files 403 (PermissionDeniedError)",
    ),
    Case("wrong_key", ("AuthenticationError", 401)),
    Case("unknown_model", ("BadRequestError", 400), UNKNOWN),
    Case("bad_request", ("BadRequestError", 400)),
    Case("interrupted", ["message_start", HELLO]),
]

CASES = {
    "openai-python": OPENAI_PYTHON,
    "openai-typescript": OPENAI_TYPESCRIPT,
    "anthropic-python": ANTHROPIC_PYTHON,
}
