"""What an answer used, in the words of both APIs, and what that costs."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_pool.tokens import MOST, StreamedTokens, Tokens, cost, of_answer, reported

DONE = b"data: [DONE]\n\n"
STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def text(said: str = "word") -> bytes:
    return chunk(choices=[{"delta": {"content": said}}])


def streamed(*events: bytes, request_bytes: int = 0) -> Tokens:
    meter = StreamedTokens(request_bytes)
    for event in events:
        meter.feed(event)
    return meter.used()


# Whole answers


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}, Tokens(100, 0, 7)),
        (
            {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}},
            Tokens(40, 60, 7),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None}, Tokens(5, 0, 7)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {}}, Tokens(5, 0, 7)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Tokens(5, 0, 0)),
        ({"completion_tokens": 7}, Tokens(0, 0, 7)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Tokens(0, 9, 0)),
        ({"input_tokens": 40, "output_tokens": 7}, Tokens(40, 0, 7)),
        (
            {"input_tokens": 40, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 60, "output_tokens": 7},
            Tokens(60, 60, 7),
        ),
        ({"input_tokens": 40, "cache_read_input_tokens": None, "output_tokens": None}, Tokens(40, 0, 0)),
        ({}, Tokens()),
        (None, Tokens()),
        ([1, 2], Tokens()),
        ("many", Tokens()),
    ],
)
def test_usage_of_both_apis(usage: Any, used: Tokens) -> None:
    assert reported(usage) == used
    assert of_answer({"usage": usage, "choices": []}) == used


@pytest.mark.parametrize("document", [None, [], "x", {}, {"choices": []}])
def test_an_answer_that_tells_nothing(document: Any) -> None:
    assert of_answer(document) == Tokens()


@pytest.mark.parametrize(
    "odd", ["12", -3, None, True, [], {}, float("nan"), float("inf"), float("-inf"), MOST + 1, 10**400, 0.5]
)
@pytest.mark.parametrize("names", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")])
def test_what_is_no_number_of_tokens_counts_as_none(names: tuple[str, str], odd: Any) -> None:
    assert reported({names[0]: odd, names[1]: 7}) == Tokens(0, 0, 7)
    assert reported({names[0]: 5, names[1]: odd}) == Tokens(5, 0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = (
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
USAGES = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON | st.fixed_dictionaries({"cached_tokens": JSON}))


@given(st.lists(USAGES, max_size=3), st.booleans())
def test_whatever_is_reported_is_some_number_of_tokens(usages: list[Any], within_message: bool) -> None:
    for usage in usages:
        assert min(vars(reported(usage)).values()) >= 0
    events = [chunk(**({"message": {"usage": usage}} if within_message else {"usage": usage})) for usage in usages]
    assert 0 <= streamed(*events, DONE).total < 4 * MOST + 4


# Streams


def test_an_openai_stream_tells_at_its_end() -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 10}}
    assert streamed(text(), text(), chunk(choices=[], usage=usage), DONE) == Tokens(20, 10, 9)


def test_an_anthropic_stream_tells_at_both_ends() -> None:
    start = chunk(type="message_start", message={"usage": {"input_tokens": 20, "output_tokens": 1}})
    delta = chunk(type="message_delta", delta={}, usage={"output_tokens": 9})
    assert streamed(start, delta, STOP) == Tokens(20, 0, 9)


@pytest.mark.parametrize(
    ("usages", "used"),
    [
        # the same again
        ([{"input_tokens": 20, "output_tokens": 1}, {"input_tokens": 20, "output_tokens": 9}], Tokens(20, 0, 9)),
        # what was told is left out, or is 0
        ([{"input_tokens": 20, "cache_read_input_tokens": 80}, {"output_tokens": 9}], Tokens(20, 80, 9)),
        (
            [{"input_tokens": 20, "cache_read_input_tokens": 80}, {"input_tokens": 0, "output_tokens": 9}],
            Tokens(20, 80, 9),
        ),
        ([{"input_tokens": 20}, {"cache_read_input_tokens": 80, "output_tokens": 9}], Tokens(20, 80, 9)),
        ([{"input_tokens": 20, "cache_read_input_tokens": 80}, {"input_tokens": 20}, {"output_tokens": 9}],
         Tokens(20, 80, 9)),
        # only the last one knows
        ([{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 20, "output_tokens": 9}], Tokens(20, 0, 9)),
        # a sum at every event
        ([{"prompt_tokens": 30, "completion_tokens": n} for n in range(10)], Tokens(30, 0, 9)),
        # it was cached, as the last one says
        (
            [
                {"prompt_tokens": 30, "completion_tokens": 1},
                {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}},
            ],
            Tokens(10, 20, 9),
        ),
        (
            [{"input_tokens": 30}, {"input_tokens": 0, "cache_read_input_tokens": 30, "output_tokens": 9}],
            Tokens(0, 30, 9),
        ),
        ([None, {"prompt_tokens": 30, "completion_tokens": 9}, None], Tokens(30, 0, 9)),
        ([[], {"prompt_tokens": 30, "completion_tokens": 9}, "x"], Tokens(30, 0, 9)),
    ],
)  # fmt: skip
def test_events_that_repeat_or_leave_out(usages: list[Any], used: Tokens) -> None:
    assert streamed(*(chunk(usage=usage) for usage in usages), DONE) == used


def test_what_an_answer_says_of_usage_is_no_usage() -> None:
    said = text('{"usage": {"prompt_tokens": 1000000}}')
    end = chunk(usage={"prompt_tokens": 3, "completion_tokens": 4})
    assert streamed(said, b'data: "usage"\n\n', b'data: ["usage"]\n\n', b'"usage"', end, DONE) == Tokens(3, 0, 4)


@pytest.mark.parametrize("ending", [[], [DONE], [STOP]], ids=["cut", "openai", "anthropic"])
def test_what_was_never_told_is_estimated(ending: Iterable[bytes]) -> None:
    """Cut short, or complete from an upstream that tells nothing: it must not be free."""
    used = streamed(text(), text(), text(), *ending, request_bytes=400)
    assert (used.input, used.cached) == (100, 0)
    assert used.output >= 3


def test_of_a_stream_that_was_cut_short_what_was_told_counts() -> None:
    start = chunk(type="message_start", message={"usage": {"input_tokens": 20, "output_tokens": 1}})
    assert streamed(start, text(), text(), text(), request_bytes=400) == Tokens(20, 0, 4)
    all_cached = chunk(usage={"input_tokens": 0, "cache_read_input_tokens": 50})
    assert streamed(all_cached, text(), request_bytes=400) == Tokens(0, 50, 2)
    assert streamed(chunk(usage={"input_tokens": 20, "output_tokens": 70}), text()) == Tokens(20, 0, 70)


def test_a_stream_without_events_used_what_was_sent() -> None:
    assert streamed(request_bytes=400) == Tokens(100, 0, 0)


# Money


def test_cost_by_kind() -> None:
    price = {"input": 2.0, "cached": 0.5, "output": 8.0}
    assert cost(Tokens(1_000_000, 2_000_000, 500_000), price) == pytest.approx(2 + 1 + 4)
    assert cost(Tokens(), price) == 0


def test_cached_tokens_cost_as_others_where_no_price_is_set() -> None:
    assert cost(Tokens(0, 1_000_000, 0), {"input": 2.0, "output": 8.0}) == pytest.approx(2)
    assert cost(Tokens(0, 1_000_000, 0), {"input": 2.0, "cached": 0.0, "output": 8.0}) == 0


def test_tokens_add_up() -> None:
    assert Tokens(1, 2, 3) + Tokens(10, 20, 30) == Tokens(11, 22, 33)
    assert Tokens(1, 2, 3).total == 6
