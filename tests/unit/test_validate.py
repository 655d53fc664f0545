"""Faulty settings are refused on the controller: each message names the variable and the fix, never a secret."""

from typing import Any

import pytest
from litellm_proxy_config import config, credentials
from litellm_proxy_validate import (
    KEY_FIELDS,
    LITELLM_STRATEGIES,
    POOL_FIELDS,
    POOL_STRATEGIES,
    faults,
    warnings,
)
from role_settings import ENDPOINTS, KEY_A, KEY_B, KEY_C, MASTER_KEY, SHIPPED, STATE_FILE, key, pool, settings

KEYS, POOLS, MASTER = "litellm_proxy_zai_keys", "litellm_proxy_pools", "litellm_proxy_master_key"
RELAY = "https://relay.example.com/v1"
REDIS, REDIS_PASSWORD = "redis://:Tk9wQ2xRb3Bz@redis.internal:6379/0", "Tk9wQ2xRb3Bz"
DIGEST = "sha256:8d2f4b6a0c1e3f5d7b9a8c6e4d2f1b3a1b3d5f7a9c0e2d4f6b8a7c5e3d1f0b2c"
PLACEHOLDERS = [
    "CHANGE-ME",
    "changeme",
    "change_me",
    "<your key>",
    "your-key-here",
    "REPLACE_WITH_KEY",
    "sk-example-sk-example-sk",
    "dummy-dummy-dummy",
    "TODO",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxx",
    "00000000000000000000000000000000.0000000000000000",
    "abc...def",
]


def case(identifier: str, starts_with: str, says: str, **changes: object) -> Any:
    """One fault: the settings that have it, how its message begins and what it says to do."""
    return pytest.param(changes, starts_with, says, id=identifier)


def compose(identifier: str, starts_with: str, says: str, **changes: object) -> Any:
    """One fault of compose mode."""
    return case(identifier, starts_with, says, **{"mode": "compose", "image_digest": DIGEST} | changes)


def with_key(value: object, **fields: object) -> list[dict[str, Any]]:
    return [key("team-a", value, **fields)]


def with_field(**fields: object) -> list[dict[str, Any]]:
    return with_key(KEY_A, **fields)


FAULTS = [
    case("start timeout with a unit", "litellm_proxy_start_timeout", "10 to 3600", start_timeout="3m"),
    case("stop timeout not a number", "litellm_proxy_stop_timeout", "1 to 86400", stop_timeout="x"),
    case("log size with a unit", "litellm_proxy_log_max_mb", "1 to 10000", log_max_mb="50MB"),
    case("memory in another notation", "litellm_proxy_memory_max", "such as 2G", memory_max="2GB"),
    case("service user root", "litellm_proxy_user", "not root", user="root"),
    case("home with a space", "litellm_proxy_home", "absolute path", home="/opt/my proxy"),
    case("relative trust store", "litellm_proxy_ca_bundle", "absolute path", ca_bundle="ca.pem"),
    case("host is a word", "litellm_proxy_host", "0.0.0.0", host="cafe"),
    case("host out of range", "litellm_proxy_host", "0.0.0.0", host="999.1.1.1"),
    case("name and key swapped", f"{KEYS}[0]", "swap 'name' and 'key'", zai_keys=[key(KEY_A, "team-a")]),
    case(
        "relay key with one base",
        f"{KEYS}[0] (team-a)",
        "set both",
        zai_keys=with_key("relay-key-0123456789", openai_api_base="https://relay.invalid/v1"),
    ),
    case("keys empty", KEYS, "add at least one Z.AI key", zai_keys=[]),
    case("keys not a list", KEYS, "must be a list", zai_keys={"team-a": KEY_A}),
    case("keys are texts", KEYS, "must be a list of entries", zai_keys=[KEY_A, KEY_B]),
    case("keys unset", KEYS, "must be a list", zai_keys=None),
    case(
        "no active key",
        KEYS,
        "set one to active",
        zai_keys=[key("team-a", KEY_A, state="draining"), key("team-b", KEY_B, state="disabled")],
    ),
    *(
        case(f"key is the placeholder {value}", f"{KEYS}[0] (team-a)", "put the real value", zai_keys=with_key(value))
        for value in PLACEHOLDERS
    ),
    case("key missing", f"{KEYS}[0] (team-a)", "put the value into the vault", zai_keys=[{"name": "team-a"}]),
    case("key empty", f"{KEYS}[0] (team-a)", "put the value into the vault", zai_keys=with_key("")),
    case("key too short", f"{KEYS}[0] (team-a)", "copy it again", zai_keys=with_key(KEY_A[:-1])),
    case("key too long", f"{KEYS}[0] (team-a)", "copy it again", zai_keys=with_key(KEY_A + "Z")),
    case("key with a space", f"{KEYS}[0] (team-a)", "without spaces", zai_keys=with_key(KEY_A + " ")),
    case("key with a line end", f"{KEYS}[0] (team-a)", "without spaces", zai_keys=with_key(KEY_A + "\n")),
    case("key in quotes", f"{KEYS}[0] (team-a)", "or quotes", zai_keys=with_key(f"'{KEY_A}'")),
    case("key without a dot", f"{KEYS}[0] (team-a)", "a dot", zai_keys=with_key(KEY_A.replace(".", "0"))),
    case("key not a text", f"{KEYS}[0] (team-a)", "quote the value", zai_keys=with_key(90210736451234567890)),
    case(
        "relay key too short",
        f"{KEYS}[0] (team-a)",
        "16 or more characters",
        zai_keys=with_key("relay-a1b2c3d4", openai_api_base=RELAY),
    ),
    case(
        "relay key with a space",
        f"{KEYS}[0] (team-a)",
        "without white space",
        zai_keys=with_key("relay a1b2c3d4e5f6a7b8", anthropic_api_base=RELAY),
    ),
    case(
        "duplicate key",
        f"{KEYS}[0] (team-a) and [2] (team-c)",
        "remove one",
        zai_keys=[key("team-a", KEY_A), key("team-b", KEY_B), key("team-c", KEY_A)],
    ),
    case(
        "duplicate name",
        f"{KEYS}[0] and [1]",
        "rename one",
        zai_keys=[key("team-a", KEY_A), key("team-a", KEY_B)],
    ),
    case(
        "names of one variable",
        f"{KEYS}[0] and [1]",
        "rename one",
        zai_keys=[key("a-b", KEY_A), key("A_b", KEY_B)],
    ),
    case("name missing", f"{KEYS}[0] (no name)", "needs a 'name'", zai_keys=[{"key": KEY_A}]),
    case("name malformed", f"{KEYS}[0] (team a)", "needs a 'name'", zai_keys=[key("team a", KEY_A)]),
    case("unknown plan", f"{KEYS}[0] (team-a)", "use one of general, coding", zai_keys=with_field(plan="max")),
    case("unknown region", f"{KEYS}[0] (team-a)", "use one of international, china", zai_keys=with_field(region="eu")),
    case(
        "unknown key state",
        f"{KEYS}[0] (team-a)",
        "use one of active, draining, disabled",
        zai_keys=[key("team-a", KEY_A, state="paused"), key("team-b", KEY_B)],
    ),
    case("unknown field of a key", f"{KEYS}[0] (team-a)", "max_parallel_requests", zai_keys=with_field(max_paralel=2)),
    *(
        case(
            f"{field} is {value!r}",
            f"{KEYS}[0] (team-a)",
            "whole number of 1 or more",
            zai_keys=with_field(**{field: value}),
        )
        for field in ("max_parallel_requests", "rpm", "weight")
        for value in (0, -1, 1.5, "many", True)
    ),
    case(
        "API base without scheme", f"{KEYS}[0] (team-a)", "http(s) URL", zai_keys=with_field(openai_api_base="relay/v1")
    ),
    case(
        "API base with a query",
        f"{KEYS}[0] (team-a)",
        "without query",
        zai_keys=with_field(anthropic_api_base=f"{RELAY}?region=eu"),
    ),
    case("unknown strategy", "litellm_proxy_routing_strategy", "round-robin, least-con", routing_strategy="random"),
    case("unknown state", "litellm_proxy_state", "use one of present, absent", state="started"),
    case("unknown mode", "litellm_proxy_mode", "use one of systemd, compose, process", mode="docker"),
    compose("image with a tag", "litellm_proxy_image", "of their own", image="ghcr.io/berriai/litellm:v1.108.11"),
    compose("image in capitals", "litellm_proxy_image", "REGISTRY/PATH", image="ghcr.io/BerriAI/litellm"),
    compose("image empty", "litellm_proxy_image", "REGISTRY/PATH", image=""),
    compose("malformed tag", "litellm_proxy_image_tag", "letters, digits", image_tag="v1 108"),
    compose("digest missing", "litellm_proxy_image_digest", "imagetools inspect ghcr.io", image_digest=""),
    compose("digest malformed", "litellm_proxy_image_digest", "64 digits", image_digest="sha256:abc"),
    compose("digest a placeholder", "litellm_proxy_image_digest", "no digest", image_digest="sha256:" + "0" * 64),
    compose("signature a text", "litellm_proxy_image_signature", "--key=FILE", image_signature="--key=x"),
    compose("registry without password", "litellm_proxy_registry_password", "both", registry_username="team"),
    compose("registry without user", "litellm_proxy_registry_username", "both", registry_password="Rt5-kWq9-zLm2"),
    compose(
        "registry password a placeholder",
        "litellm_proxy_registry_password",
        "into the vault",
        registry_username="team",
        registry_password="CHANGE-ME",
    ),
    compose("memory without unit", "litellm_proxy_memory_max", "such as 2G", memory_max="2000"),
    compose("memory in percent", "litellm_proxy_memory_max", "such as 2G", memory_max="50%"),
    case("unknown log level", "litellm_proxy_log_level", "use one of debug, info", log_level="verbose"),
    case("pools empty", POOLS, "add at least one pool", pools=[]),
    case("pools not a list", POOLS, "must be a list", pools="glm-pool"),
    case("pool without model", f"{POOLS}[0] (glm-pool)", "for example glm-5.3", pools=[{"name": "glm-pool"}]),
    case("pool without name", f"{POOLS}[0] (no name)", "needs a 'name'", pools=[{"model": "glm-5.3"}]),
    case("pool with [1m]", f"{POOLS}[0] (glm-pool)", "leave it out", pools=[pool("glm-pool", "glm-5.3[1m]")]),
    case("malformed model", f"{POOLS}[0] (glm-pool)", "use Z.AI's name", pools=[pool("glm-pool", "glm 5.3")]),
    case("malformed alias", f"{POOLS}[0] (glm-pool)", "'*'", pools=[pool("glm-pool", "glm-5.3", "claude ?")]),
    case(
        "aliases a text",
        f"{POOLS}[0] (glm-pool)",
        "as a list",
        pools=[{"name": "glm-pool", "model": "glm-5.3", "aliases": "claude-*"}],
    ),
    case(
        "unknown field of a pool",
        f"{POOLS}[0] (glm-pool)",
        "use aliases, model, name",
        pools=[{**pool("glm-pool"), "alias": ["x"]}],
    ),
    case(
        "alias in two pools",
        f"{POOLS}[1] (other)",
        "keep each name in one place",
        pools=[pool("glm-pool", "glm-5.3", "claude-*"), pool("other", "glm-5.3", "claude-*")],
    ),
    case(
        "alias is the name of another pool",
        f"{POOLS}[1] (other)",
        "keep each name in one place",
        pools=[pool("glm-pool"), pool("other", "glm-5.3", "glm-pool")],
    ),
    case(
        "alias is the name of its pool",
        f"{POOLS}[0] (glm-pool)",
        "keep each name in one place",
        pools=[pool("glm-pool", "glm-5.3", "glm-pool")],
    ),
    case("master key missing", MASTER, "openssl rand", master_key=""),
    case("master key unset", MASTER, "openssl rand", master_key=None),
    *(
        case(f"master key is the placeholder {value}", MASTER, "openssl rand", master_key=value)
        for value in [*PLACEHOLDERS, "sk-CHANGE-ME-0123456789", "sk-<master key of the team>"]
    ),
    case("master key too short", MASTER, "20 characters", master_key="sk-5f2c81d09be74a3"),
    case("master key too plain", MASTER, "of them different", master_key="sk-1212121212121212121212"),
    case("master key without sk-", MASTER, "begin with 'sk-'", master_key="5f2c81d09be74a36a1b2c3d4e5f60718"),
    case("master key with white space", MASTER, "white space", master_key="sk-5f2c81d09be7 4a36a1b2c3d4"),
    case("master key with a line end", MASTER, "white space", master_key=MASTER_KEY + "\n"),
    case("master key not ASCII", MASTER, "no HTTP header carries", master_key="sk-5f2c81d09be74a36ä1b2c3d4"),
    case("master key not a text", MASTER, "begin with 'sk-'", master_key=90210736451234567890),
    *(
        case(f"port is {value!r}", "litellm_proxy_port", "from 1024 to 65535", port=value)
        for value in (0, 80, 70000, "abc", True, None, 4000.5)
    ),
    case("retries negative", "litellm_proxy_num_retries", "from 0 to 100", num_retries=-1),
    case("cooldown not a number", "litellm_proxy_cooldown_time", "from 0 to 86400", cooldown_time="1m"),
    case("timeout zero", "litellm_proxy_request_timeout", "from 1 to 86400", request_timeout=0),
    case("queue negative", "litellm_proxy_queue_size", "from 0 to 100000", queue_size=-1),
    case("queue without end", "litellm_proxy_queue_size", "from 0 to 100000", queue_size="infinity"),
    case("nobody may wait any time", "litellm_proxy_queue_timeout", "from 1 to 86400", queue_timeout=0),
    case("no worker", "litellm_proxy_num_workers", "from 1 to 32", num_workers=0),
    case("too many workers", "litellm_proxy_num_workers", "from 1 to 32", num_workers=33, redis_url=REDIS),
    case("workers without Redis", "litellm_proxy_num_workers is 2", "limits would not hold", num_workers=2),
    *(
        case(f"Redis URL {url!r}", "litellm_proxy_redis_url is malformed", "percent-encode", redis_url=url)
        for url in (
            "redis.internal:6379",
            "http://redis.internal",
            "redis://",
            f"redis://:{REDIS_PASSWORD}/x@redis.internal",
            f"redis://:{REDIS_PASSWORD} @redis.internal",
            "redis://redis.internal:6379/zero",
            "redis://redis.internal:6379/0\n",
            "unix://redis.sock",
            6379,
            ["redis://a", "redis://b"],
        )
    ),
    case("Redis with a placeholder", "litellm_proxy_redis_url", "vault", redis_url="redis://:CHANGE-ME@redis.internal"),
    *(
        case(f"version {value}", "litellm_proxy_version", f"banned ({why}", version=value)
        for value, why in {
            "1.82.7": "its package on PyPI was compromised",
            "1.82.8": "its package on PyPI was compromised",
            "1.107.0": "its package on PyPI was compromised",
            "1.106.3": "known faults",
            "0.9.0": "known faults",
        }.items()
    ),
    case("version not shipped", "litellm_proxy_version", "shipped with the role: 1.108.11", version="1.109.0"),
    case("version not a number", "litellm_proxy_version", "no lock file", version="latest"),
    case("host is a URL", "litellm_proxy_host", "address to listen on", host="http://0.0.0.0"),
    case("host not a text", "litellm_proxy_host", "address to listen on", host=0),
    case("extra not a mapping", "litellm_proxy_config_extra", "must be a mapping", config_extra=["a"]),
    case(
        "extra with an upstream key",
        "litellm_proxy_config_extra",
        "os.environ/",
        config_extra={"model_list": [{"litellm_params": {"api_key": f"Bearer {KEY_B}"}}]},
    ),
    case(
        "extra with the master key",
        "litellm_proxy_config_extra",
        "os.environ/",
        config_extra={"general_settings": {"master_key": MASTER_KEY}},
    ),
    case(
        "extra with the password of Redis",
        "litellm_proxy_config_extra",
        "os.environ/",
        redis_url=REDIS,
        config_extra={"router_settings": {"redis_password": REDIS_PASSWORD}},
    ),
]


def secrets_of(found: dict[str, Any]) -> set[str]:
    keys = found[KEYS] if isinstance(found[KEYS], list) else []
    values = [
        found[MASTER],
        KEY_A,
        KEY_B,
        REDIS_PASSWORD,
        *(entry.get("key") for entry in keys if isinstance(entry, dict)),
    ]
    return {str(value).strip() for value in values if value}


@pytest.mark.parametrize("port", [1024, 4000, 65535, "4000"])
def test_valid_settings_have_no_fault(port: object) -> None:
    assert faults(settings(port=port), SHIPPED) == []


@pytest.mark.parametrize("strategy", [*POOL_STRATEGIES, *LITELLM_STRATEGIES])
def test_every_strategy_is_accepted(strategy: str) -> None:
    assert faults(settings(routing_strategy=strategy), SHIPPED) == []


def test_an_entry_with_every_field_is_accepted() -> None:
    entry = key(
        "team-a",
        "relay-key-0123456789",
        account="billing",
        plan="coding",
        region="china",
        max_parallel_requests=2,
        rpm="60",
        weight=3,
        state="active",
        openai_api_base=RELAY,
        anthropic_api_base="http://127.0.0.1:9000/api/anthropic",
    )
    assert faults(settings(zai_keys=[entry]), SHIPPED) == []


@pytest.mark.parametrize(("changes", "starts_with", "says"), FAULTS)
def test_fault_names_the_variable_and_the_fix_and_no_secret(
    changes: dict[str, Any], starts_with: str, says: str
) -> None:
    faulty = settings(**changes)
    found = faults(faulty, SHIPPED)
    assert len(found) == 1, found
    assert found[0].startswith(starts_with)
    assert says in found[0]
    assert found[0].endswith(".")
    assert [secret for secret in secrets_of(faulty) if secret in found[0]] == []


@pytest.mark.parametrize(
    "url", ["https://relay.example.com/v1?token=Tk9wQ2xR", "https://user:Tk9wQ2xR@relay.example.com/v1"]
)
def test_secret_in_an_api_base_is_refused_and_not_repeated(url: str) -> None:
    found = faults(settings(zai_keys=with_field(openai_api_base=url)), SHIPPED)
    assert len(found) == 1
    assert found[0].startswith(f"{KEYS}[0] (team-a)")
    assert "openai_api_base" in found[0]
    assert "Tk9wQ2xR" not in found[0]


SCALARS: list[Any] = [None, 0, 1, 5.3, True, "", "x", "x\n"]
OF_EVERY_TYPE: list[Any] = [*SCALARS, [], [[]], [None], [1.5], ["x"], [{"a": 1}], {}, {1: 2}]
PLACES = [
    *(f"settings {name}" for name in settings()),
    *(f"key {field}" for field in sorted(KEY_FIELDS)),
    *(f"pool {field}" for field in sorted(POOL_FIELDS)),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", OF_EVERY_TYPE, ids=repr)
def test_value_of_any_type_is_either_refused_or_can_be_rendered(place: str, value: object) -> None:
    kind, name = place.split()
    judged = settings(zai_keys=[key("a", KEY_A), key("b", KEY_B)], pools=[pool("one"), pool("two")])
    target = {"settings": judged, "key": judged[KEYS][0], "pool": judged[POOLS][0]}[kind]
    target[name] = value
    found = faults(judged, SHIPPED)
    assert [fault for fault in found if not fault.startswith("litellm_proxy_")] == []
    assert all(isinstance(warning, str) for warning in warnings(judged))
    if not found:
        rendered = config(judged, ENDPOINTS, STATE_FILE)
        names = [(entry["model_name"], entry["model_info"]["pool"]) for entry in rendered["model_list"]]
        names += [(entry["name"], entry["account"]) for entry in rendered["glm_pool"]["keys"]]
        assert [name for pair in names for name in pair if not isinstance(name, str)] == []
        assert [secret for secret in credentials(judged).values() if not isinstance(secret, str)] == []


def test_master_key_must_not_be_an_upstream_key() -> None:
    relay_key = "sk-relay-9f8e7d6c5b4a3210"
    relay = with_key(relay_key, openai_api_base=RELAY, anthropic_api_base=RELAY)
    found = faults(settings(master_key=relay_key, zai_keys=relay), SHIPPED)
    assert len(found) == 1
    assert found[0].startswith("litellm_proxy_master_key equals an upstream key")
    assert relay_key not in found[0]


def test_all_faults_come_together() -> None:
    faulty = settings(
        master_key="",
        port=80,
        version="1.82.7",
        log_level="verbose",
        routing_strategy="random",
        zai_keys=[key("a", "CHANGE-ME"), key("b", "short"), key("b", KEY_A, plan="max")],
        pools=[pool("glm-pool", "")],
        config_extra={"x": KEY_A},
    )
    found = faults(faulty, SHIPPED)
    for start in (
        "litellm_proxy_master_key ",
        "litellm_proxy_port ",
        "litellm_proxy_version ",
        "litellm_proxy_log_level ",
        "litellm_proxy_routing_strategy ",
        "litellm_proxy_zai_keys[0] (a) has a placeholder",
        "litellm_proxy_zai_keys[1] (b) has a malformed",
        "litellm_proxy_zai_keys[2] (b) has the unknown plan",
        "litellm_proxy_zai_keys[1] and [2] have the same name",
        "litellm_proxy_pools[0] ",
        "litellm_proxy_config_extra ",
    ):
        assert sum(fault.startswith(start) for fault in found) == 1, start
    assert len(found) == 11
    assert not [fault for fault in found if KEY_A in fault]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": "registry.internal:5000/team/litellm", "registry_username": "team", "registry_password": "Rt5-kWq9"},
        {"image_signature": ["--key=/etc/litellm/cosign.pub"]},
        {"image_signature": [], "memory_max": "1500M", "front": "none"},
    ],
)
def test_images_and_registries(changes: dict[str, object]) -> None:
    assert faults(settings(mode="compose", image_digest=DIGEST, **changes), SHIPPED) == []


def test_other_modes_need_no_image() -> None:
    assert faults(settings(image="", image_digest=""), SHIPPED) == []


def test_removing_the_proxy_needs_no_keys() -> None:
    bare = settings(state="absent", master_key="", zai_keys=[], pools=[], version="1.82.7")
    assert faults(bare, SHIPPED) == []
    assert warnings(bare) == []


def test_removing_the_proxy_needs_to_know_the_mode() -> None:
    found = faults(settings(state="absent", mode="docker"), SHIPPED)
    assert len(found) == 1
    assert found[0].startswith("litellm_proxy_mode ")


def test_warns_of_active_keys_of_one_account() -> None:
    keys = [key("a", KEY_A, account="billing"), key("b", KEY_B, account="billing"), key("c", KEY_C, account="other")]
    found = warnings(settings(zai_keys=keys))
    assert len(found) == 1
    assert found[0].startswith("litellm_proxy_zai_keys: a, b are active keys of one account (billing).")
    assert KEY_A not in found[0]


def test_keys_of_one_account_may_follow_each_other() -> None:
    keys = [key("a", KEY_A, account="billing"), key("b", KEY_B, account="billing", state="draining")]
    assert warnings(settings(zai_keys=keys)) == []


def test_warns_of_coding_plan_keys_until_that_is_acknowledged() -> None:
    keys = [key("a", KEY_A, plan="coding"), key("b", KEY_B), key("c", KEY_C, plan="coding", state="disabled")]
    found = warnings(settings(zai_keys=keys))
    assert len(found) == 1
    assert found[0].startswith("litellm_proxy_zai_keys: a use the Coding Plan")
    assert "litellm_proxy_coding_plan_acknowledged: true" in found[0]
    assert KEY_A not in found[0]
    assert warnings(settings(zai_keys=keys, coding_plan_acknowledged=True)) == []


@pytest.mark.parametrize("field", ["max_parallel_requests", "rpm"])
@pytest.mark.parametrize("other", [None, 5])
def test_warns_of_different_limits_of_one_account(field: str, other: int | None) -> None:
    keys = [
        key("a", KEY_A, account="billing", **{field: "2"}),
        key("b", KEY_B, account="billing", **{field: other}),
        key("c", KEY_C, account="other", **{field: 9}),
    ]
    (_, warning) = warnings(settings(zai_keys=keys))
    assert f"keys of one account (billing) have different {field} (a: 2, b: {other or 'none'})" in warning
    assert "the smallest counts" in warning


def test_equal_limits_of_one_account_are_right() -> None:
    keys = [
        key("a", KEY_A, account="billing", max_parallel_requests=2, rpm=60),
        key("b", KEY_B, account="billing", max_parallel_requests="2", rpm="60"),
        key("c", KEY_C, account="billing", max_parallel_requests=1, state="draining"),
    ]
    assert [warning for warning in warnings(settings(zai_keys=keys)) if "different" in warning] == []


@pytest.mark.parametrize("strategy", LITELLM_STRATEGIES)
def test_warns_of_what_litellms_own_strategies_do_not_do(strategy: str) -> None:
    keys = [key("a", KEY_A, max_parallel_requests=2, rpm=60), key("b", KEY_B)]
    found = warnings(settings(routing_strategy=strategy, zai_keys=keys, redis_url=REDIS, session_affinity=True))
    assert [warning.split(" has no effect")[0] for warning in found] == [
        "max_parallel_requests of a in litellm_proxy_zai_keys",
        "litellm_proxy_session_affinity",
        "litellm_proxy_redis_url",
    ]
    assert [warning for warning in found if strategy not in warning or "use round-robin, " not in warning] == []
    assert [warning for warning in found if REDIS_PASSWORD in warning] == []


@pytest.mark.parametrize("strategy", POOL_STRATEGIES)
def test_the_pools_strategies_do_all_of_it(strategy: str) -> None:
    keys = [key("a", KEY_A, max_parallel_requests=2, rpm=60), key("b", KEY_B)]
    assert warnings(settings(routing_strategy=strategy, zai_keys=keys, redis_url=REDIS, session_affinity=True)) == []


@pytest.mark.parametrize(
    "url",
    [
        REDIS,
        "redis://localhost",
        "rediss://user:p%40ss@[fd00::1]:6380/1?socket_timeout=2",
        "unix:///run/redis/redis.sock",
        f"unix://user@/run/redis.sock?db=1&password={REDIS_PASSWORD}",
        f"redis+sentinel://:{REDIS_PASSWORD}@10.0.0.1,10.0.0.2:26380,redis-3:26379/litellm-pool",
        "rediss+sentinel://user:p%40ss@[fd00::1]:26379,[fd00::2]/litellm-pool/1",
    ],
)
def test_redis_urls_and_several_workers(url: str) -> None:
    assert faults(settings(redis_url=url, num_workers="4"), SHIPPED) == []


def test_litellms_own_strategies_may_have_workers_without_redis() -> None:
    assert faults(settings(routing_strategy="simple-shuffle", num_workers=2), SHIPPED) == []


@pytest.mark.parametrize("size", [0, "0", 100_000])
def test_lengths_of_the_queue(size: object) -> None:
    assert faults(settings(queue_size=size, queue_timeout=86400), SHIPPED) == []


def test_acknowledging_the_coding_plan_silences_nothing_else() -> None:
    keys = [key("a", KEY_A, account="billing"), key("b", KEY_B, account="billing")]
    assert len(warnings(settings(zai_keys=keys, coding_plan_acknowledged=True))) == 1


def test_valid_settings_have_no_warning() -> None:
    assert warnings(settings()) == []


def test_a_word_inside_a_random_key_is_chance() -> None:
    assert (
        faults(settings(zai_keys=[key("team-a", "8d2f4b6a0c1e3f5d7b9a8c6e4d2f1b3a.QmtodoK4cUIo9pAs")]), SHIPPED) == []
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1", "10.1.2.3"])
def test_addresses_to_listen_on(host: str) -> None:
    assert faults(settings(host=host), SHIPPED) == []


def test_an_account_left_out_is_the_name() -> None:
    (warning,) = warnings(settings(zai_keys=[key("team-a", KEY_A), key("team-b", KEY_B, account="team-a")]))
    assert "team-a, team-b are active keys of one account" in warning
