"""Server-sent events: where they end, and what they mean to the pool."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_pool import sse


def openai(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **fields: Any) -> bytes:
    return openai(choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


def anthropic(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


DONE = b"data: [DONE]\n\n"
CHAT = [delta(role="assistant", content=""), delta(content="né\n\nvus"), delta("stop"), DONE]
MESSAGES = [
    anthropic("message_start", message={"id": "m", "content": []}),
    anthropic("ping"),
    anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": "hé"}),
    anthropic("content_block_stop", index=0),
    anthropic("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
    anthropic("message_stop"),
]
STREAMS = {
    "chat": CHAT,
    "messages": MESSAGES,
    "CRLF": [event.replace(b"\n", b"\r\n") for event in MESSAGES],
    "mixed": [MESSAGES[0].replace(b"\n", b"\r\n"), *CHAT],
    "comments": [b": keep-alive\n\n", *CHAT],
}
of_every_stream = pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS)


def cut(parts: list[bytes]) -> tuple[list[bytes], bytes]:
    events = sse.Events()
    return [event for part in parts for event in events.feed(part)], events.rest()


@of_every_stream
def test_events_are_whole_wherever_the_stream_is_cut_in_two(events: list[bytes]) -> None:
    stream = b"".join(events)
    for place in range(len(stream) + 1):
        assert cut([stream[:place], stream[place:]]) == (events, b"")


@of_every_stream
def test_events_are_whole_when_they_come_byte_by_byte(events: list[bytes]) -> None:
    stream = b"".join(events)
    assert cut([stream[n : n + 1] for n in range(len(stream))]) == (events, b"")


@settings(deadline=None)
@given(st.data())
def test_cuts_of_any_bytes_give_the_same_events(data: st.DataObject) -> None:
    stream = data.draw(st.text(alphabet="a\r\n").map(str.encode))
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    parts = [stream[begin:end] for begin, end in zip([0, *places], [*places, len(stream)], strict=True)]
    events, rest = cut(parts)
    assert (events, rest) == cut([stream])
    assert b"".join(events) + rest == stream


def test_unfinished_event_is_kept_back() -> None:
    events = sse.Events()
    assert events.feed(CHAT[0] + b'data: {"choi') == [CHAT[0]]
    assert events.rest() == b'data: {"choi'
    assert events.feed(b'ces": []}\n') == []
    assert events.feed(b"\n") == [b'data: {"choices": []}\n\n']
    assert events.rest() == b""


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (b'data: {"a": 1}\n\n', {"a": 1}),
        (b'data:{"a": 1}\r\n\r\n', {"a": 1}),
        (b'event: x\nid: 3\ndata: {"a": 1}\n\n', {"a": 1}),
        (b'data: {"a":\ndata: 1}\n\n', {"a": 1}),
        (b"data: [DONE]\n\n", None),
        (b"data: \n\n", None),
        (b"event: ping\n\n", None),
        (b": data: {}\n\n", None),
        (b"data: {\n\n", None),
        (b"data: \xff\n\n", None),
        (b"\n\n", None),
    ],
)
def test_payload_is_the_json_of_the_data(event: bytes, found: object) -> None:
    assert sse.payload(event) == found


@of_every_stream
def test_the_last_event_and_no_other_ends_the_answer(events: list[bytes]) -> None:
    assert [sse.ends(event) for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize(
    "event",
    [
        delta(content="[DONE]"),
        delta(content="data: [DONE]"),
        delta(content="\ndata: [DONE]\n"),
        anthropic("content_block_delta", delta={"type": "text_delta", "text": '"message_stop"'}),
        b"event: message_stop\ndata: {\n\n",
        b"event: message_stop\ndata: []\n\n",
        b": [DONE]\n\n",
    ],
)
def test_text_that_reads_like_an_end_is_none(event: bytes) -> None:
    assert not sse.ends(event)


@pytest.mark.parametrize(
    "event",
    [
        delta(content="x"),
        delta(role="assistant", content="x"),
        delta(reasoning_content="x"),
        delta(tool_calls=[{"index": 0}]),
        delta("stop"),
        openai(choices=[], usage={"total_tokens": 1}),
        openai(choices=[{"delta": "x"}]),
        openai(choices=[{"delta": None, "finish_reason": "stop"}]),
        DONE,
        b'data: {"unknown": 1}\n\n',
        *MESSAGES[2:],
    ],
)
def test_event_with_a_part_of_the_answer_is_content(event: bytes) -> None:
    assert sse.has_content(event)


@pytest.mark.parametrize(
    "event",
    [
        CHAT[0],
        delta(role="assistant"),
        delta(role="assistant", content=None),
        openai(choices=[]),
        openai(choices=[{"index": 0}]),
        openai(choices=[{"delta": None}]),
        openai(choices=[None, "x", 1]),
        openai(choices=[{"delta": []}]),
        *MESSAGES[:2],
        b": keep-alive\n\n",
        b"event: ping\n\n",
        b"\n\n",
        b"data: {\n\n",
        b"data: 7\n\n",
    ],
)
def test_event_before_the_answer_is_no_content(event: bytes) -> None:
    assert not sse.has_content(event)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"code": "1302", "message": ""}}\n\n',
        b'data: {"success": false, "code": 1302}\n\n',
        b'event: error\ndata: {"type":"error","error":{}}\n\n',
        b'event: error\r\ndata: {"type":"error","error":{}}\r\n\r\n',
    ],
)
def test_every_error_event_is_worth_a_look(event: bytes) -> None:
    assert sse.may_be_error(event)


@pytest.mark.parametrize("event", [*CHAT, *MESSAGES, delta(content='{"error": "success"}')])
def test_answers_are_not_worth_a_look_for_errors(event: bytes) -> None:
    assert not sse.may_be_error(event)
