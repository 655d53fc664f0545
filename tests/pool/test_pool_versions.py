"""Every other LiteLLM that the role ships serves as the default one does, which all other tests are about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from role_settings import DEFAULTS, ROLE

from tests.pool.conftest import with_log
from tests.pool.pool_client import APIS, Answer, Api
from tests.pool.pool_server import Key, Rig, running_rig

SHIPPED = {lock.stem.removeprefix("litellm-") for lock in (ROLE / "files/locks").glob("litellm-*.txt")}
OTHERS = sorted(SHIPPED - {DEFAULTS["litellm_proxy_version"]})
KEYS = (Key("one", "alpha", slots=2), Key("two", "beta", slots=2), Key("three", "gamma", slots=2))
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@pytest.fixture(scope="module", params=OTHERS)
def other_rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp(f"litellm-{request.param}")
    with running_rig(directory, KEYS, version=request.param, routing_strategy="round-robin") as rig:
        yield rig


@pytest.fixture
def other(other_rig: Rig) -> Iterator[Rig]:
    """Three keys of three accounts in strict turns, by a version that is not the default."""
    other_rig.settle()
    yield from with_log(other_rig)


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """The version that `other` runs."""
    return str(request.node.callspec.params["other_rig"])


def assert_answered(answer: Answer, stream: bool) -> None:
    """The upstream's answer, whole, in the form of the client's API."""
    assert answer.status == 200, answer
    assert answer.text == "simulated answer to: hello there"
    assert answer.streamed == stream
    assert not answer.cut
    if stream:
        name, data = answer.events[-1]
        assert (name or data) == {"openai": "[DONE]", "anthropic": "message_stop"}[answer.api]


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_serves_in_strict_turns(other: Rig, version: str, api: Api, stream: bool) -> None:
    answers = [other.client.ask(api, stream=stream) for _ in range(6)]
    for answer in answers:
        assert_answered(answer, stream)
    assert {answer.headers["x-litellm-version"] for answer in answers} == {version}
    turn = [answer.key for answer in answers[:3]]
    assert sorted(map(str, turn)) == sorted(other.active)
    assert [answer.key for answer in answers[3:]] == turn
    assert other.control.stats()["total"]["requests"] == 6


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_dead_key_is_one_that_others_answer_for(other: Rig, api: Api, stream: bool) -> None:
    other.control.set_key("two", fault={"code": "1113"})
    for _ in range(6):
        answer = other.client.ask(api, stream=stream)
        assert_answered(answer, stream)
        assert answer.key in ("one", "three")
    assert other.stats_of("two")["requests"] == 1
    assert other.status().resting == ["two"]


@STREAMED
@pytest.mark.parametrize("api", APIS)
def test_stream_or_answer_gives_its_slot_back(other: Rig, api: Api, stream: bool) -> None:
    for _ in range(3 * len(KEYS)):
        assert_answered(other.client.ask(api, stream=stream), stream)
    other.wait_idle(1)


@pytest.mark.parametrize("api", APIS)
def test_fields_of_the_operator_do_no_harm(other: Rig, api: Api) -> None:
    fields = {"api_key": "sk-not-of-this-pool", "api_base": "http://127.0.0.1:1", "extra_headers": {"x-injected": "y"}}
    assert_answered(other.client.ask(api, fields=fields), stream=False)
    assert other.control.stats()["unauthenticated"] == {}
    assert "x-injected" not in other.control.requests()[-1]["headers"]


@pytest.mark.parametrize("api", APIS)
def test_wrong_key_is_401(other: Rig, api: Api) -> None:
    answer = other.client.ask(api, headers={"Authorization": "Bearer sk-not-the-master-key-at-all"})
    assert answer.status == 401, answer
    assert other.control.stats()["total"]["requests"] == 0
    assert other.client.call("/v1/models", key=None).status == 401


def test_models_are_those_of_the_config(other: Rig) -> None:
    models = {model["id"] for model in other.client.call("/v1/models").body["data"]}
    assert models == {"glm-pool", "glm-alias", "second", "flash"}
