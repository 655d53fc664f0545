"""Who may use the proxy."""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest
from role_settings import MASTER_KEY

Authenticate = Callable[[object, str], Awaitable[Any]]


class ProxyException(Exception):
    """Stands for LiteLLM's."""

    def __init__(self, message: str, type: str, param: str, code: int) -> None:
        super().__init__(message)
        self.code, self.type, self.param = code, type, param


class UserAPIKeyAuth:
    """Stands for LiteLLM's."""

    def __init__(self, api_key: str, user_role: str) -> None:
        self.api_key, self.user_role = api_key, user_role


class LitellmUserRoles:
    """Stands for LiteLLM's."""

    PROXY_ADMIN = "proxy_admin"


@pytest.fixture
def authenticate(monkeypatch: pytest.MonkeyPatch) -> Authenticate:
    types, requests = ModuleType("litellm.proxy._types"), ModuleType("starlette.requests")
    for standing_in in (ProxyException, UserAPIKeyAuth, LitellmUserRoles):
        setattr(types, standing_in.__name__, standing_in)
    vars(requests)["Request"] = object
    modules = {name: ModuleType(name) for name in ("litellm", "litellm.proxy", "starlette")}
    for name, module in {**modules, "litellm.proxy._types": types, "starlette.requests": requests}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "glm_pool.auth", raising=False)
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    function: Authenticate = importlib.import_module("glm_pool.auth").authenticate
    monkeypatch.delitem(sys.modules, "glm_pool.auth")
    return function


def ask(authenticate: Authenticate, presented: str) -> Any:
    async def call() -> Any:
        return await authenticate(object(), presented)

    return asyncio.run(call())


@pytest.mark.parametrize("presented", [MASTER_KEY, f"Bearer {MASTER_KEY}", f" {MASTER_KEY} "])
def test_the_master_key_is_accepted(authenticate: Authenticate, presented: str) -> None:
    user = ask(authenticate, presented)
    assert (user.api_key, user.user_role) == (MASTER_KEY, "proxy_admin")


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
    ],
)
def test_every_other_key_is_refused_and_not_repeated(authenticate: Authenticate, presented: str) -> None:
    with pytest.raises(ProxyException) as refused:
        ask(authenticate, presented)
    assert refused.value.code == 401
    assert MASTER_KEY not in str(refused.value)
    secret = presented.removeprefix("Bearer ")
    assert not secret or secret not in str(refused.value)
