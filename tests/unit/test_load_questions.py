"""The load takes whole answers of the simulated Z.AI, and none that is cut, foreign or faulty."""

import json
from typing import Any

import pytest

from tests.load.questions import WORDS, Api, Fault, Kind, Question
from zai_simulator.answers import answer
from zai_simulator.anthropic_api import AnthropicDialect
from zai_simulator.dialect import Dialect, Usage
from zai_simulator.openai_api import OpenAIDialect

DIALECTS: dict[Api, Dialect] = {"openai": OpenAIDialect(), "anthropic": AnthropicDialect()}
KINDS = [Kind(api, form, "kept") for api in DIALECTS for form in WORDS]
STREAMS = [kind for kind in KINDS if kind.streamed]


def question(kind: Kind, number: int = 7) -> Question:
    return Question(kind, number, WORDS[kind.form])


def answered(asked: Question, **changes: Any) -> bytes:
    """The simulator's answer to a question, its body with changes."""
    dialect = DIALECTS[asked.kind.api]
    prompt = dialect.parse({**json.loads(asked.body("glm-5.3-flash")), **changes})
    said, usage = answer(prompt), Usage(10, 0, 0)
    if asked.kind.streamed:
        return b"".join(event.data for event in dialect.events(prompt, said, usage, 1))
    return json.dumps(dialect.whole(prompt, said, usage)).encode()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_whole_answer_is_taken(kind: Kind) -> None:
    question(kind).judge(answered(question(kind)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_answer_to_somebody_else_is_noticed(kind: Kind) -> None:
    with pytest.raises(Fault, match="expected") as raised:
        question(kind).judge(answered(question(kind, number=8)))
    assert raised.value.failure == "content"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("missing", [1, 30, 200])
def test_a_cut_answer_is_noticed(kind: Kind, missing: int) -> None:
    with pytest.raises(Fault) as raised:
        question(kind).judge(answered(question(kind))[:-missing])
    assert raised.value.failure == "truncated"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_empty_body_is_cut(kind: Kind) -> None:
    with pytest.raises(Fault) as raised:
        question(kind).judge(b"")
    assert raised.value.failure == "truncated"


@pytest.mark.parametrize("kind", STREAMS, ids=str)
def test_a_stream_without_one_of_its_words_is_noticed(kind: Kind) -> None:
    raw = answered(question(kind))
    # by event: the words of a whole stream are one an event
    events = raw.split(b"\n\n")
    (lost,) = [event for event in events if b'" answer"' in event or b'" to:"' in event][:1]
    with pytest.raises(Fault, match="expected"):
        question(kind).judge(raw.replace(lost + b"\n\n", b""))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_answer_that_the_token_limit_cut_is_noticed(kind: Kind) -> None:
    with pytest.raises(Fault, match=r"finished by '(length|max_tokens)'"):
        question(kind).judge(answered(question(kind), max_tokens=2))


@pytest.mark.parametrize("kind", STREAMS, ids=str)
def test_an_error_in_a_stream_is_noticed(kind: Kind) -> None:
    raw = answered(question(kind))
    error = b'data: {"error": {"code": "1305", "message": "overloaded"}}\n\n'
    with pytest.raises(Fault, match="an error in the stream") as raised:
        question(kind).judge(error + raw)
    assert raised.value.failure == "content"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_json_of_another_form_is_noticed(kind: Kind) -> None:
    raw = b'{"type": "message_stop"}'
    end = b"data: [DONE]\n\n" if kind.api == "openai" else b"\n\n"
    with pytest.raises(Fault) as raised:
        question(kind).judge(b"data: " + raw + b"\n\n" + end if kind.streamed else raw)
    assert raised.value.failure == "content"
