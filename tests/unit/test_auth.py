"""Who LiteLLM lets in."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pool_parts import ProxyException, make_access, plug_in
from role_settings import MASTER_KEY

from glm_pool import names, request_state
from glm_pool.access import Visit
from glm_pool.clients import Client

KEY = "sk-alice-0123456789abcdefghijklmnop"


def client(name: str = "alice", key: str = KEY, **fields: Any) -> Client:
    return Client(name, hashlib.sha256(key.encode()).hexdigest(), **fields)


@pytest.fixture
def auth(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    module = plug_in("auth", monkeypatch)
    monkeypatch.setattr(module, "the_access", lambda: make_access(client(pools=frozenset({"flash"}))))
    names.learn(
        {
            "model_list": [
                {"model_name": "glm-pool", "model_info": {"pool": "glm-pool"}},
                {"model_name": "flash", "model_info": {"pool": "flash"}},
            ],
            "router_settings": {"model_group_alias": {"glm-5.3-flash": "flash"}},
        }
    )
    yield module
    names.learn({})
    sys.modules.pop("glm_pool.auth", None)


def ask(auth: ModuleType, presented: str, path: str = "/v1/models") -> Any:
    request = SimpleNamespace(url=SimpleNamespace(path=path))
    return asyncio.run(auth.authenticate(request, presented))


@pytest.mark.parametrize("presented", [MASTER_KEY, f"Bearer {MASTER_KEY}", f" {MASTER_KEY} "])
def test_the_master_key_administers(auth: ModuleType, presented: str) -> None:
    user = ask(auth, presented, "/model/info")
    assert (user["api_key"], user["user_role"]) == (MASTER_KEY, "proxy_admin")


def test_a_client_is_a_user_with_the_models_of_its_pools(auth: ModuleType) -> None:
    user = ask(auth, f"Bearer {KEY}")
    assert ask(auth, KEY, "/v1/models/flash") == user
    assert (user["user_role"], user["key_alias"]) == ("internal_user", "alice")
    assert sorted(user["models"]) == ["flash", "glm-5.3-flash"]
    assert KEY not in str(user)


@pytest.mark.parametrize("path", ["/model/info", "/config/update", "/v1/modelsx/../key/list", "/metrics"])
def test_what_is_the_administrators_is_closed_to_clients(auth: ModuleType, path: str) -> None:
    with pytest.raises(ProxyException) as refused:
        ask(auth, KEY, path)
    assert refused.value.code == 403


def test_a_request_that_was_let_in_is_not_judged_again(auth: ModuleType) -> None:
    state = request_state.begin()
    state.visit = Visit(client("bob", "another"), counted=True)

    async def within() -> Any:
        request_state._current.set(state)
        return await auth.authenticate(SimpleNamespace(url=SimpleNamespace(path="/v1/messages")), "whatever")

    assert asyncio.run(within())["key_alias"] == "bob"
    request_state._current.set(None)


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "Bearer ",
        MASTER_KEY[:-1],
        MASTER_KEY + "0",
        MASTER_KEY.upper(),
        f"Basic {MASTER_KEY}",
        "sk-Schlüssel-der-Gäste",
        KEY[:-1],
    ],
)
def test_every_other_key_is_refused_and_not_repeated(auth: ModuleType, presented: str) -> None:
    with pytest.raises(ProxyException) as refused:
        ask(auth, presented)
    assert refused.value.code == 401
    assert MASTER_KEY not in str(refused.value)
    secret = presented.removeprefix("Bearer ")
    assert not secret or secret not in str(refused.value)
