"""The section `glm_pool` of config.yaml, as the plug-in reads it."""

from typing import Any

import pytest
from litellm_proxy_config import config, credentials
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, STATE_FILE, key, pool
from role_settings import settings as role_settings

from glm_pool.settings import Key, Pool, Settings, parse

LOCAL_STORE = "/run/litellm-proxy/pool.sqlite3"
REDIS = "redis://:Tk9wQ2xRb3Bz@redis.internal:6379/0"
SECTION: dict[str, Any] = {
    "strategy": "weighted",
    "session_affinity": True,
    "queue_size": 7,
    "queue_timeout": 8,
    "num_retries": 9,
    "cooldown_time": 10,
    "request_timeout": 11,
    "state_file": STATE_FILE,
    "local_store": LOCAL_STORE,
    "redis_url": "os.environ/LITELLM_PROXY_REDIS_URL",
    "pools": [{"name": "glm-pool", "model": "glm-5.3", "wildcards": ["claude-*"]}],
    "keys": [
        {
            "name": "team-a",
            "account": "billing@example.com",
            "value": "os.environ/ZAI_API_KEY_TEAM_A",
            "state": "active",
            "weight": 3,
            "max_parallel_requests": 2,
            "rpm": 60,
            "openai_api_base": "https://api.z.ai/api/paas/v4",
            "anthropic_api_base": "https://api.z.ai/api/anthropic",
        }
    ],
}
ENVIRONMENT = {"ZAI_API_KEY_TEAM_A": KEY_A, "LITELLM_PROXY_REDIS_URL": REDIS}


def with_key(**fields: Any) -> Key:
    (found,) = parse({"pools": [], "keys": [{"name": "team-a", **fields}]}, ENVIRONMENT).keys
    return found


def test_whole_section_is_read() -> None:
    assert parse(SECTION, ENVIRONMENT) == Settings(
        pools=(Pool("glm-pool", "glm-5.3", ("claude-*",)),),
        keys=(
            Key(
                "team-a",
                "billing@example.com",
                KEY_A,
                "active",
                3.0,
                2,
                60,
                "https://api.z.ai/api/paas/v4",
                "https://api.z.ai/api/anthropic",
            ),
        ),
        strategy="weighted",
        session_affinity=True,
        queue_size=7,
        queue_timeout=8.0,
        num_retries=9,
        cooldown_time=10.0,
        request_timeout=11.0,
        state_file=STATE_FILE,
        local_store=LOCAL_STORE,
        redis_url=REDIS,
    )


@pytest.mark.parametrize("absent", [{}, dict.fromkeys(set(SECTION) - {"pools", "keys"})])
def test_what_is_absent_or_empty_has_its_default(absent: dict[str, Any]) -> None:
    assert parse({"pools": [], "keys": [], **absent}, {}) == Settings((), ())


def test_zero_is_no_default() -> None:
    found = parse({"pools": [], "keys": [], "queue_size": 0, "num_retries": 0, "queue_timeout": 0}, {})
    assert (found.queue_size, found.num_retries, found.queue_timeout) == (0, 0, 0.0)


def test_key_is_active_with_an_account_of_its_own_and_no_limit_unless_told_otherwise() -> None:
    assert with_key() == Key("team-a", "team-a", "", "active", 1.0, None, None, "", "")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("os.environ/ZAI_API_KEY_TEAM_A", KEY_A),
        ("os.environ/MISSING", ""),
        (KEY_B, KEY_B),
        ("", ""),
        (None, ""),
    ],
)
def test_value_comes_from_the_environment(written: str | None, value: str) -> None:
    assert with_key(value=written).value == value


@pytest.mark.parametrize("section", [{}, {"pools": []}, {"keys": []}, {"pools": [{"name": "p"}], "keys": []}])
def test_what_is_needed_is_demanded(section: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        parse(section, {})


def test_no_secret_is_in_what_is_printed() -> None:
    text = repr(parse(SECTION, ENVIRONMENT))
    assert "team-a" in text
    assert [secret for secret in (KEY_A, "Tk9wQ2xRb3Bz") if secret in text] == []


def test_new_value_under_an_old_name_is_another_key() -> None:
    identities = {with_key(value=value).identity for value in (KEY_A, KEY_B, "")}
    assert len(identities) == 3
    assert all(identity.startswith("team-a@") for identity in identities)
    assert with_key(value=KEY_A).identity == with_key(value=KEY_A, weight=9, rpm=1, account="x").identity
    assert not any(part in identity for identity in identities for part in KEY_A.split("."))


def test_section_that_the_role_writes_is_understood() -> None:
    role = role_settings(
        zai_keys=[
            key("team-a", KEY_A, weight=2, max_parallel_requests=2, rpm="60", account="x"),
            key("b", KEY_B, state="draining"),
            key("c", KEY_C, state="disabled"),
        ],
        pools=[pool("glm-pool", "glm-5.3", "claude-*", "opus"), pool("flash", "glm-5.3-flash")],
        redis_url=REDIS,
        queue_size=5,
    )
    found = parse(config(role, ENDPOINTS, STATE_FILE)["glm_pool"], credentials(role))
    assert found.pools == (Pool("glm-pool", "glm-5.3", ("claude-*",)), Pool("flash", "glm-5.3-flash"))
    first, *others = found.keys
    assert (first.value, first.account, first.weight, first.max_parallel_requests, first.rpm) == (
        KEY_A,
        "x",
        2.0,
        2,
        60,
    )
    assert [(k.name, k.value, k.state) for k in others] == [("b", "", "draining"), ("c", "", "disabled")]
    assert (found.queue_size, found.redis_url, found.state_file) == (5, REDIS, STATE_FILE)
