"""The pool behind each name that a client may ask for."""

from collections.abc import Iterator
from typing import Any

import pytest

from glm_pool import names


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    names.learn({})


def entry(name: str, pool: str | None = "glm-pool", **info: Any) -> dict[str, Any]:
    return {"model_name": name, "model_info": {**({"pool": pool} if pool else {}), **info}}


def learn(*entries: dict[str, Any], aliases: Any = None) -> None:
    names.learn({"model_list": list(entries), "router_settings": {"model_group_alias": aliases}})


@pytest.mark.parametrize("config", [{}, {"model_list": None}, {"router_settings": None}, {"model_list": []}])
def test_nothing_is_configured(config: dict[str, Any]) -> None:
    names.learn(config)
    assert names.the_names() == {}
    assert names.pool_of("glm-pool") is None
    assert names.pool_of("") is None


def test_names_and_what_is_no_pools() -> None:
    learn(entry("glm-pool"), entry("flash", "flash"), entry("own", None), {"model_name": "bare"})
    assert names.the_names() == {"glm-pool": "glm-pool", "flash": "flash"}
    assert [names.pool_of(name) for name in ("flash", "own", "bare", "Flash")] == ["flash", None, None, None]


def test_aliases_of_both_forms_lead_to_the_pool() -> None:
    aliases = {"opus": "glm-pool", "haiku": {"model": "flash", "hidden": True}, "lost": "nowhere", "none": {}}
    learn(entry("glm-pool"), entry("flash", "flash"), aliases=aliases)
    assert [names.pool_of(name) for name in ("opus", "haiku", "lost", "none")] == ["glm-pool", "flash", None, None]


def test_the_longest_wildcard_wins_and_a_name_beats_all() -> None:
    learn(entry("claude-*", "a"), entry("claude-haiku-*", "b"), entry("claude-haiku-5", "c"), entry("*-mini", "d"))
    asked = ("claude-opus-5", "claude-haiku-4", "claude-haiku-5", "gpt-mini", "claude-", "Claude-opus", "gpt")
    assert [names.pool_of(name) for name in asked] == ["a", "b", "c", "d", "a", None, None]


def test_what_litellm_is_asked_for() -> None:
    learn(entry("glm-pool"), entry("claude-*"), entry("claude-own", None), entry("claude-own-*", None))
    for asked, name in {"claude-5": "glm-pool", "glm-pool": "glm-pool", "claude-*": "claude-*", "gpt": "gpt"}.items():
        assert names.resolve(asked) == name


def test_the_operators_own_models_are_no_pools_though_a_wildcard_matches() -> None:
    learn(
        entry("claude-*"), entry("claude-own", None), entry("claude-own-*", None), aliases={"claude-mine": "claude-own"}
    )
    for own in ("claude-own", "claude-own-2", "claude-mine"):
        assert names.pool_of(own) is None
        assert names.resolve(own) == own


def test_brackets_belong_to_a_name() -> None:
    learn(entry("glm-5.3[1m]"))
    assert names.pool_of("glm-5.3[1m]") == "glm-pool"
    assert names.pool_of("glm-5.31") is None


def test_several_names_and_ids_of_deployments_reach_pools_too() -> None:
    learn(
        entry("glm-pool", id="glm-pool/one/openai"), entry("flash", "flash", id="flash/one/openai"), entry("own", None)
    )
    for asked, pools in {
        "flash": ["flash"],
        "flash/one/openai": ["flash"],
        "flash,glm-pool": ["flash", "glm-pool"],
        " flash , glm-pool/one/openai,flash": ["flash", "glm-pool"],
        "own,flash": ["flash"],
        "own": [],
        "None": [],
        "": [],
        ",": [],
    }.items():
        assert names.pools_of(asked) == pools, asked
    assert set(names.the_names()) == {"glm-pool", "flash"}, "clients are shown names alone"


def test_what_was_learned_before_is_forgotten() -> None:
    learn(entry("old"))
    learn(entry("new"))
    assert names.the_names() == {"new": "glm-pool"}
