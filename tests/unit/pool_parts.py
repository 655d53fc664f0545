"""What tests of the plug-in are made of: a clock that they move, keys, a loop of their own, LiteLLM's modules."""

import asyncio
import functools
import importlib
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec

import pytest
from role_settings import KEY_A, KEY_B, KEY_C

from glm_pool.access import Access
from glm_pool.clients import Client, ClientsFile, Directory
from glm_pool.clock import Clock
from glm_pool.ledger import Ledger
from glm_pool.settings import Key, Pool, Settings

PATIENCE = 10.0
"""Seconds within which everything has to come true, on a busy machine too."""
OPENAI_BASE, ANTHROPIC_BASE = "https://api.z.ai/api/paas/v4", "https://api.z.ai/api/anthropic"
VALUES = {"a": KEY_A, "b": KEY_B, "c": KEY_C}

P = ParamSpec("P")


class FakeClock(Clock):
    """Time that a test moves."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self.now = 1000.0
        self.ahead = wall - self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.ahead

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def set_wall(self, seconds: float) -> None:
        """Someone sets the clock on the wall forward, or back."""
        self.ahead += seconds


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop, which has to end in time and in which nothing may fail unheard."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        unheard: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
            await asyncio.wait_for(test(*args, **kwargs), PATIENCE)

        asyncio.run(watched())
        assert unheard == []

    return run


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Let the loop turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        assert time.monotonic() < deadline, what or "it did not come true in time"
        await asyncio.sleep(0.001)


async def turns(number: int = 10) -> None:
    """Let the loop turn a few times."""
    for _ in range(number):
        await asyncio.sleep(0)


def key(name: str, slots: int | None = 1, **fields: Any) -> Key:
    """A key at Z.AI's general endpoint, with an account of its own."""
    return Key(
        name,
        fields.pop("account", name),
        fields.pop("value", VALUES.get(name, f"value-of-{name}")),
        max_parallel_requests=slots,
        openai_api_base=fields.pop("openai_api_base", OPENAI_BASE),
        anthropic_api_base=fields.pop("anthropic_api_base", ANTHROPIC_BASE),
        **fields,
    )


def settings(*keys: Key, pools: tuple[Pool, ...] = (Pool("glm-pool", "glm-5.3"),), **options: Any) -> Settings:
    """A pool of these keys."""
    return Settings(pools, keys, **options)


class Clients(ClientsFile):
    """Stands for the file; a test may set another content."""

    def __init__(self, *clients: Client, **fields: Any) -> None:
        super().__init__(None)
        self.directory = Directory(clients, **fields)

    def read(self) -> Directory:
        return self.directory


def make_access(*clients: Client, clock: Clock | None = None, ledger: Ledger | None = None, **fields: Any) -> Access:
    """Access for these clients; nothing is on the disk."""
    return Access(Clients(*clients, **fields), ledger or Ledger(None, clock), lambda model: None, clock)


class ProxyException(Exception):
    """Stands for LiteLLM's."""

    def __init__(self, message: str, type: str = "", param: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.type, self.param, self.code = type, param, code


OWNED = {"api_base", "api_key", "cooldown_time", "id", "litellm_metadata", "litellm_session_id", "litellm_trace_id"}
OWNED |= {"metadata", "mock_response", "model_info", "rpm", "tags", "weight"}
"""Some of what LiteLLM calls its own."""


REFUSED = ("api_base", "azure_ad_token", "langfuse_host")
"""Some of what LiteLLM refuses."""


def owned(name: str) -> bool:
    """Stands for LiteLLM's `is_litellm_owned_kwarg`."""
    return name in OWNED or name.startswith("_litellm_")


def plug_in(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the plug-in that imports LiteLLM's, with stand-ins for those; freshly loaded for one test."""
    contents: dict[str, dict[str, Any]] = {
        "litellm": {},
        "litellm.types": {},
        "litellm.types.utils": {"is_litellm_owned_kwarg": owned},
        "litellm.proxy": {},
        "litellm.proxy.auth": {},
        "litellm.proxy.auth.auth_utils": {"_BANNED_REQUEST_BODY_PARAMS": REFUSED},
        "litellm.proxy._types": {
            "LitellmUserRoles": type(
                "LitellmUserRoles", (), {"PROXY_ADMIN": "proxy_admin", "INTERNAL_USER": "internal_user"}
            ),
            "ProxyException": ProxyException,
            "UserAPIKeyAuth": dict,
        },
    }
    for module_name, content in contents.items():
        module = ModuleType(module_name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module_name, module)
        parent, _, child = module_name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    package = importlib.import_module("glm_pool")
    for dependent in ("auth", "body", "endpoints", "middleware"):
        monkeypatch.delitem(sys.modules, f"glm_pool.{dependent}", raising=False)
        monkeypatch.delattr(package, dependent, raising=False)
    found = importlib.import_module(f"glm_pool.{name}")
    for dependent in ("auth", "body", "endpoints", "middleware"):
        monkeypatch.delitem(sys.modules, f"glm_pool.{dependent}", raising=False)
    return found


def mode(path: Path) -> str:
    """A file's permissions, as in `0600`."""
    return f"{path.stat().st_mode & 0o7777:04o}"
