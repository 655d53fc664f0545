"""Filters that judge the role's settings on the controller, before any host is touched."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

MODES = ("systemd", "compose", "process")
FRONTS = ("gateway", "none")
STATES = ("present", "absent")
PLANS = ("general", "coding")
REGIONS = ("international", "china")
KEY_STATES = ("active", "draining", "disabled")
LOG_LEVELS = ("debug", "info", "warning", "error")
POOL_STRATEGIES = ("round-robin", "least-connections", "weighted")
LITELLM_STRATEGIES = (
    "simple-shuffle",
    "least-busy",
    "latency-based-routing",
    "cost-based-routing",
    "usage-based-routing",
    "usage-based-routing-v2",
    "lar1",
)
OLDEST_VERSION = (1, 106, 4)
BANNED_VERSIONS = {
    "1.82.7": "its package on PyPI was compromised",
    "1.82.8": "its package on PyPI was compromised",
    "1.107.0": "its package on PyPI was compromised",
}
KEY_FIELDS = {
    "name", "key", "account", "plan", "region", "max_parallel_requests", "rpm", "weight", "state",
    "openai_api_base", "anthropic_api_base",
}  # fmt: skip
POOL_FIELDS = {"name", "model", "aliases"}
MASTER_KEY_LENGTH, MASTER_KEY_VARIETY = 20, 8

PLACEHOLDER = re.compile(r"change.?me|replace|your[-_ ]|placeholder|example|dummy|todo|xxxx|<|>|\.\.\.", re.IGNORECASE)
ZAI_KEY = re.compile(r"[A-Za-z0-9]{32}\.[A-Za-z0-9]{16}")
RELAY_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,}")
KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
ALIAS = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/*-]*")
CONTAINER_MEMORY = re.compile(r"[1-9]\d*[KMG]")
IMAGE = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+")
IMAGE_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MEMORY = re.compile(r"[1-9]\d*[KMGT]?|[1-9]\d?%|infinity")
USER = re.compile(r"(?!root$)[a-z_][a-z0-9_-]{0,31}")
PATH = re.compile(r"(/|~/)[A-Za-z0-9._+@/-]+")
STRONG_MASTER_KEY = re.compile(r"sk-[A-Za-z0-9_-]{32,}")
URL = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*")
REDIS_URL = re.compile(
    r"(?:rediss?://(?:[^\s/?#@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/\d*)?"
    r"|unix://(?:[^\s/?#@]*@)?/[^\s?#@]+)(?:\?[^\s#]*)?"
)
SENTINEL = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?"
SENTINEL_URL = re.compile(rf"rediss?\+sentinel://(?:[^\s/?#@]*@)?{SENTINEL}(?:,{SENTINEL})*/[A-Za-z0-9._-]+(?:/\d+)?")

Settings = Mapping[str, Any]


def faults(settings: Settings, shipped_versions: Sequence[str]) -> list[str]:
    """List everything that is wrong, one sentence each: the variable, what is wrong, what to do.

    Args:
        settings: the role's public variables by name.
        shipped_versions: the LiteLLM versions that the role has a lock for.

    Returns:
        The faults, empty when the settings can work; none repeats a secret.
    """
    if settings["litellm_proxy_state"] == "absent":
        return list(_choice(settings, "litellm_proxy_mode", MODES))
    return [
        *_choice(settings, "litellm_proxy_state", STATES),
        *_choice(settings, "litellm_proxy_mode", MODES),
        *_choice(settings, "litellm_proxy_log_level", LOG_LEVELS),
        *_strategy(settings),
        *_front(settings),
        *_generations_password(settings),
        *_version(settings, shipped_versions),
        *_numbers(settings),
        *_redis(settings),
        *_listen_host(settings),
        *_service(settings),
        *(_containers(settings) if settings["litellm_proxy_mode"] == "compose" else ()),
        *_master_key(settings),
        *_keys(settings),
        *_pools(settings),
        *_config_extra(settings),
    ]


def warnings(settings: Settings) -> list[str]:
    """List what works but should be known, one sentence each."""
    if settings["litellm_proxy_state"] == "absent":
        return []
    active = [key for key in _mappings(settings["litellm_proxy_zai_keys"]) if _state(key) == "active"]
    found = []
    accounts: dict[str, list[str]] = {}
    for key in active:
        name = str(key.get("name", "?"))
        accounts.setdefault(str(key.get("account") or name), []).append(name)
    for account, names in accounts.items():
        if len(names) > 1:
            found.append(
                f"litellm_proxy_zai_keys: {_listed(names)} are active keys of one account ({account}). Z.AI limits "
                "requests per account and model, so they add no capacity; keep one active, or correct 'account'."
            )
    found.extend(_unequal_limits(settings))
    found.extend(_without_the_scheduler(settings))
    coding = [str(key.get("name", "?")) for key in active if key.get("plan", "general") == "coding"]
    if coding and not settings["litellm_proxy_coding_plan_acknowledged"]:
        found.append(
            f"litellm_proxy_zai_keys: {_listed(coding)} use the Coding Plan, which Z.AI sells to one person for use in "
            "listed tools; sharing or proxying it is against its terms and can end in a ban (code 1313). Use general "
            "API keys for a team, or set litellm_proxy_coding_plan_acknowledged: true to silence this."
        )
    return found


def _choice(settings: Settings, name: str, allowed: Sequence[str]) -> Iterator[str]:
    if settings[name] not in allowed:
        yield f"{name} is {settings[name]!r}: use one of {', '.join(allowed)}."


def _strategy(settings: Settings) -> Iterator[str]:
    allowed = (*POOL_STRATEGIES, *LITELLM_STRATEGIES)
    yield from _choice(settings, "litellm_proxy_routing_strategy", allowed)


def _version(settings: Settings, shipped: Sequence[str]) -> Iterator[str]:
    name, version = "litellm_proxy_version", str(settings["litellm_proxy_version"])
    choose = f"choose one of those shipped with the role: {', '.join(shipped)}."
    numbers = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if version in BANNED_VERSIONS:
        yield f"{name} is {version}, which is banned ({BANNED_VERSIONS[version]}): {choose}"
    elif numbers and tuple(map(int, numbers.groups())) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        yield f"{name} is {version}, which is banned (known faults in all before {oldest}): {choose}"
    elif version not in shipped:
        yield f"{name} is {version!r}, which has no lock file: {choose}"


def _front(settings: Settings) -> Iterator[str]:
    name, front = "litellm_proxy_front", settings["litellm_proxy_front"]
    yield from _choice(settings, name, FRONTS)
    if front == "gateway" and settings["litellm_proxy_mode"] == "process":
        yield f"{name} is gateway, which process mode has no rights for: use none, or another litellm_proxy_mode."
    ports, public = settings["litellm_proxy_instance_ports"], settings["litellm_proxy_port"]
    if front != "gateway":
        return
    name = "litellm_proxy_instance_ports"
    if not isinstance(ports, list) or len(ports) != 2 or not all(_whole_number(port, 1024, 65535) for port in ports):
        yield f"{name} is {ports!r}: use a list of two whole numbers from 1024 to 65535."
    elif len({str(port) for port in (*ports, public)}) < 3:
        yield f"{name} is {ports!r}: use two different ports that are not litellm_proxy_port ({public})."


def _generations_password(settings: Settings) -> Iterator[str]:
    name, password = "litellm_proxy_generations_password", settings["litellm_proxy_generations_password"]
    if password == settings["litellm_proxy_master_key"]:
        return  # judged there
    if not isinstance(password, str) or len(password) < MASTER_KEY_LENGTH or _placeholder(password):
        yield (
            f"{name} is weak or a placeholder: use a text of {MASTER_KEY_LENGTH} characters or more from the vault "
            "(openssl rand -hex 24), or leave it out for the master key."
        )


def _numbers(settings: Settings) -> Iterator[str]:
    limits = {
        "litellm_proxy_port": (1024, 65535),
        "litellm_proxy_queue_size": (0, 100_000),
        "litellm_proxy_queue_timeout": (1, 86400),
        "litellm_proxy_num_retries": (0, 100),
        "litellm_proxy_cooldown_time": (0, 86400),
        "litellm_proxy_request_timeout": (1, 86400),
        "litellm_proxy_num_workers": (1, 32),
        "litellm_proxy_stop_timeout": (1, 86400),
        "litellm_proxy_start_timeout": (10, 3600),
        "litellm_proxy_drain_timeout": (0, 86400),
        "litellm_proxy_keep_generations": (2, 100),
        "litellm_proxy_log_max_mb": (1, 10_000),
    }
    for name, (lowest, highest) in limits.items():
        if not _whole_number(settings[name], lowest, highest):
            yield f"{name} is {settings[name]!r}: use a whole number from {lowest} to {highest}."


def _redis(settings: Settings) -> Iterator[str]:
    name, url = "litellm_proxy_redis_url", settings["litellm_proxy_redis_url"]
    workers = settings["litellm_proxy_num_workers"]
    if url is None or url == "":
        if settings["litellm_proxy_redis_hosts"]:
            yield (
                f"{name} is empty, and the group litellm_redis has hosts: leave it out (group_vars), it is made from "
                "them; or set litellm_proxy_redis_hosts to []."
            )
        if _scheduled(settings) and _whole_number(workers, 2, 32):
            yield (
                f"litellm_proxy_num_workers is {workers} without {name}: each worker would count for itself and limits "
                f"would not hold; set {name}, or use 1 worker."
            )
    elif not isinstance(url, str) or not (REDIS_URL.fullmatch(url) or SENTINEL_URL.fullmatch(url)):
        yield (
            f"{name} is malformed: use redis://, rediss:// (TLS) or unix://, such as redis://:PASSWORD@HOST:6379/0, or "
            "redis+sentinel://:PASSWORD@HOST:26379,HOST:26379/NAME/0; percent-encode special characters of the "
            "password, and keep it in the vault."
        )
    elif PLACEHOLDER.search(_password(url)):
        yield f"{name} has a placeholder as password: put the real one into the vault (ansible-vault edit)."
    elif settings["litellm_proxy_redis_hosts"] and not _password(url):
        yield (
            f"litellm_datastore_password is not set for {', '.join(map(str, settings['litellm_proxy_redis_hosts']))}: "
            "set it for the group litellm_redis, from the vault."
        )
    authority = settings["litellm_proxy_redis_ca"]
    if authority and "-----BEGIN CERTIFICATE-----" not in str(authority):
        yield "litellm_proxy_redis_ca is no certificate as PEM text: give the content of the file, not its path."


def _listen_host(settings: Settings) -> Iterator[str]:
    host = settings["litellm_proxy_host"]
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        yield f"litellm_proxy_host is {host!r}: use the address to listen on, 0.0.0.0 for all, 127.0.0.1 for this host."


def _service(settings: Settings) -> Iterator[str]:
    memory, user = str(settings["litellm_proxy_memory_max"]), str(settings["litellm_proxy_user"])
    if not MEMORY.fullmatch(memory):
        yield f"litellm_proxy_memory_max is {memory!r}: use systemd's notation, such as 2G, 1500M or infinity."
    if not USER.fullmatch(user):
        yield f"litellm_proxy_user is {user!r}: use a user name of lower-case letters, digits, '_' and '-', not root."
    for name in ("python", "ca_bundle", "home", "config_dir"):
        path = str(settings[f"litellm_proxy_{name}"])
        if not PATH.fullmatch(path):
            yield f"litellm_proxy_{name} is {path!r}: use an absolute path of letters, digits and . _ + @ / -."


def _containers(settings: Settings) -> Iterator[str]:
    image, tag = str(settings["litellm_proxy_image"]), str(settings["litellm_proxy_image_tag"])
    if not IMAGE.fullmatch(image):
        yield f"litellm_proxy_image is {image!r}: use REGISTRY/PATH, tag and digest are variables of their own."
    if not IMAGE_TAG.fullmatch(tag):
        yield f"litellm_proxy_image_tag is {tag!r}: use letters, digits and . _ -, 128 of them at most."
    name, digest = "litellm_proxy_image_digest", str(settings["litellm_proxy_image_digest"] or "")
    read = f"read it where you have checked the release: docker buildx imagetools inspect {image}:{tag}"
    if not digest:
        yield f"{name} is not set, and compose mode starts no image without one: {read}."
    elif not IMAGE_DIGEST.fullmatch(digest) or len(set(digest.removeprefix("sha256:"))) < 4:
        yield f"{name} is {digest!r}, which is no digest: use sha256: and 64 digits; {read}."
    name, options = "litellm_proxy_image_signature", settings["litellm_proxy_image_signature"]
    if not isinstance(options, list) or not all(isinstance(option, str) and option for option in options):
        yield f"{name} must be a list of options of `cosign verify`, such as --key=FILE, or [] for no check."
    username, password = settings["litellm_proxy_registry_username"], settings["litellm_proxy_registry_password"]
    if bool(username) != bool(password):
        missing = "password" if username else "username"
        yield f"litellm_proxy_registry_{missing} is not set: a private registry needs both (the password in the vault)."
    elif password and _placeholder(password):
        yield "litellm_proxy_registry_password is a placeholder: put the real one into the vault (ansible-vault edit)."
    memory = str(settings["litellm_proxy_memory_max"])
    if MEMORY.fullmatch(memory) and not CONTAINER_MEMORY.fullmatch(memory):
        yield f"litellm_proxy_memory_max is {memory!r}: a container's is a number with K, M or G, such as 2G."


def _master_key(settings: Settings) -> Iterator[str]:
    name, key = "litellm_proxy_master_key", settings["litellm_proxy_master_key"]
    make = "make one with: echo sk-$(openssl rand -hex 24)"
    if not key:
        yield f"{name} is not set: {make}; keep it in the vault."
    elif _placeholder(key):
        yield f"{name} is a placeholder: {make}; keep it in the vault."
    elif not isinstance(key, str) or not key.startswith("sk-"):
        yield f"{name} must begin with 'sk-' (LiteLLM refuses every request otherwise): {make}."
    elif not re.fullmatch(r"[!-~]+", key):
        yield f"{name} has white space or characters that no HTTP header carries: {make}."
    elif len(key) < MASTER_KEY_LENGTH or len(set(key)) < MASTER_KEY_VARIETY:
        yield (
            f"{name} is weak (needs {MASTER_KEY_LENGTH} characters or more, {MASTER_KEY_VARIETY} of them different): "
            f"{make}."
        )


def _keys(settings: Settings) -> Iterator[str]:
    name, keys = "litellm_proxy_zai_keys", settings["litellm_proxy_zai_keys"]
    if not isinstance(keys, list) or not all(isinstance(key, Mapping) for key in keys):
        yield f"{name} must be a list of entries, each with at least 'name' and 'key'."
        return
    if not keys:
        yield f"{name} is empty: add at least one Z.AI key with 'name' and 'key' (the value in the vault)."
        return
    for index, key in enumerate(keys):
        if ZAI_KEY.search(str(key.get("name", ""))):
            yield f"{name}[{index}] has a key value as its 'name': swap 'name' and 'key'; names appear in logs."
            continue
        yield from _key_entry(f"{name}[{index}] ({key.get('name', 'no name')})", key)
    if not any(_state(key) == "active" for key in keys):
        yield f"{name} has no entry with state 'active': set one to active, or the pool has no key to use."
    for (i, one), (j, other) in combinations(enumerate(keys), 2):
        if one.get("name") and _variable_name(one["name"]) == _variable_name(other.get("name", "")):
            yield f"{name}[{i}] and [{j}] have the same name ({other['name']}): names tell keys apart, rename one."
        if one.get("key") and not _placeholder(one["key"]) and str(one["key"]) == str(other.get("key", "")):
            yield (
                f"{name}[{i}] ({one.get('name')}) and [{j}] ({other.get('name')}) hold the same key: a duplicate adds "
                "no capacity, remove one."
            )
    master_key = settings["litellm_proxy_master_key"]
    if not _placeholder(master_key) and master_key in [key.get("key") for key in keys if key.get("key")]:
        yield "litellm_proxy_master_key equals an upstream key: clients would hold it; make an own one."


def _key_entry(where: str, key: Mapping[str, Any]) -> Iterator[str]:
    for unknown in sorted(map(str, set(key) - KEY_FIELDS)):
        yield f"{where} has an unknown field '{unknown}': use {', '.join(sorted(KEY_FIELDS))}."
    if not _text(key.get("name"), KEY_NAME):
        yield f"{where} needs a 'name' of letters, digits, '.', '_' and '-' (a number in quotes)."
    yield from _key_value(where, key)
    for field, allowed, default in (
        ("plan", PLANS, "general"),
        ("region", REGIONS, "international"),
        ("state", KEY_STATES, "active"),
    ):
        if key.get(field, default) not in allowed:
            yield f"{where} has the unknown {field} {key[field]!r}: use one of {', '.join(allowed)}."
    for field in ("max_parallel_requests", "rpm", "weight"):
        if key.get(field) is not None and not _whole_number(key[field], 1, 1_000_000):
            yield f"{where} has {field} {key[field]!r}: use a whole number of 1 or more, or leave it out."
    for field in ("openai_api_base", "anthropic_api_base"):
        if key.get(field) and not URL.fullmatch(str(key[field])):
            yield f"{where} has a malformed {field}: use an http(s) URL without user name and without query."


def _key_value(where: str, key: Mapping[str, Any]) -> Iterator[str]:
    value = key.get("key")
    if not value:
        yield f"{where} has no 'key': put the value into the vault (ansible-vault edit) under this name."
    elif not isinstance(value, str):
        yield f"{where} has a malformed 'key' (not a text): quote the value in the vault."
    elif _placeholder(value):
        yield f"{where} has a placeholder as 'key': put the real value into the vault (ansible-vault edit)."
    elif key.get("openai_api_base") or key.get("anthropic_api_base"):
        if not RELAY_KEY.fullmatch(value):
            yield f"{where} has a malformed 'key': 16 or more characters without white space are needed; copy it again."
        elif not (ZAI_KEY.fullmatch(value) or (key.get("openai_api_base") and key.get("anthropic_api_base"))):
            yield f"{where} is not a key of Z.AI and has one API base: set both, or the other API sends it to Z.AI."
    elif not ZAI_KEY.fullmatch(value):
        yield (
            f"{where} has a malformed 'key': Z.AI keys are 32 characters, a dot and 16 characters; copy it again "
            "without spaces or quotes."
        )


def _pools(settings: Settings) -> Iterator[str]:
    name, pools = "litellm_proxy_pools", settings["litellm_proxy_pools"]
    if not isinstance(pools, list) or not all(isinstance(pool, Mapping) for pool in pools):
        yield f"{name} must be a list of entries, each with 'name' and 'model'."
        return
    if not pools:
        yield f"{name} is empty: add at least one pool with 'name' and 'model'."
        return
    owner: dict[str, str] = {}
    for index, pool in enumerate(pools):
        where = f"{name}[{index}] ({pool.get('name', 'no name')})"
        for unknown in sorted(map(str, set(pool) - POOL_FIELDS)):
            yield f"{where} has an unknown field '{unknown}': use {', '.join(sorted(POOL_FIELDS))}."
        if not _text(pool.get("name"), MODEL_NAME):
            yield f"{where} needs a 'name' of letters, digits, '.', '_', ':', '/' and '-' (a number in quotes)."
        model = str(pool.get("model") or "")
        if not model:
            yield f"{where} has no 'model': name the GLM model that serves it, for example glm-5.3."
        elif model.endswith("[1m]"):
            yield f"{where} has model {model!r}: [1m] is a suffix of Claude Code, Z.AI does not know it; leave it out."
        elif not MODEL_NAME.fullmatch(model):
            yield f"{where} has the malformed model {model!r}: use Z.AI's name, for example glm-5.3."
        aliases = pool.get("aliases") or []
        if not isinstance(aliases, list):
            yield f"{where} needs 'aliases' as a list."
            aliases = []
        for alias in aliases:
            if not _text(alias, ALIAS):
                yield (
                    f"{where} has the malformed alias {alias!r}: use letters, digits, '.', '_', ':', '/', '-' and '*' "
                    "(a number in quotes)."
                )
        for served in (name for name in (pool.get("name"), *aliases) if name and isinstance(name, str)):
            if served in owner:
                both = "twice" if owner[served] == where else f"by {owner[served]} too"
                yield f"{where} serves the name {served!r}, which is served {both}: keep each name in one place."
            owner.setdefault(served, where)


def _config_extra(settings: Settings) -> Iterator[str]:
    name, extra = "litellm_proxy_config_extra", settings["litellm_proxy_config_extra"]
    if not isinstance(extra, Mapping):
        yield f"{name} must be a mapping of LiteLLM's config.yaml."
        return
    redis_url = settings["litellm_proxy_redis_url"]
    secrets = [
        ("litellm_proxy_master_key", settings["litellm_proxy_master_key"]),
        ("litellm_proxy_redis_url", redis_url),
        ("litellm_proxy_redis_url (the password)", _password(redis_url) if isinstance(redis_url, str) else ""),
        *((f"key {key.get('name')}", key.get("key")) for key in _mappings(settings["litellm_proxy_zai_keys"])),
    ]
    text = repr(extra)
    for owner, secret in secrets:
        if isinstance(secret, str) and len(secret) >= 8 and secret in text:
            yield f"{name} holds the value of {owner}: config.yaml carries no secret, refer to it by os.environ/."


def _unequal_limits(settings: Settings) -> Iterator[str]:
    accounts: dict[str, list[Mapping[str, Any]]] = {}
    for key in _mappings(settings["litellm_proxy_zai_keys"]):
        if _state(key) == "active":
            accounts.setdefault(str(key.get("account") or key.get("name", "?")), []).append(key)
    for account, keys in accounts.items():
        for field in ("max_parallel_requests", "rpm"):
            if len({str(key.get(field) or "none") for key in keys}) > 1:
                given = _listed([f"{key.get('name', '?')}: {key.get(field) or 'none'}" for key in keys])
                yield (
                    f"litellm_proxy_zai_keys: keys of one account ({account}) have different {field} ({given}). The "
                    "account has one limit, so the smallest counts; give all of them the same, or correct 'account'."
                )


def _without_the_scheduler(settings: Settings) -> Iterator[str]:
    strategy = settings["litellm_proxy_routing_strategy"]
    if _scheduled(settings):
        return
    limited = [
        str(key.get("name", "?"))
        for key in _mappings(settings["litellm_proxy_zai_keys"])
        if _state(key) == "active" and key.get("max_parallel_requests")
    ]
    unused = [
        *([f"max_parallel_requests of {_listed(limited)} in litellm_proxy_zai_keys"] if limited else []),
        *(f"litellm_proxy_{name}" for name in ("session_affinity", "redis_url") if settings[f"litellm_proxy_{name}"]),
    ]
    for what in unused:
        yield (
            f"{what} has no effect with litellm_proxy_routing_strategy {strategy}, one of LiteLLM's own: use "
            f"{', '.join(POOL_STRATEGIES[:-1])} or {POOL_STRATEGIES[-1]}, or leave it out."
        )


def _scheduled(settings: Settings) -> bool:
    return settings["litellm_proxy_routing_strategy"] in POOL_STRATEGIES


def _password(url: str) -> str:
    """The password in a Redis URL, before the host or as a parameter; empty without one."""
    found = re.search(r"://[^/?#@]*?:([^/?#@]*)@|[?&]password=([^&#]*)", url)
    return (found[1] or found[2] or "") if found else ""


def _placeholder(value: object) -> bool:
    """Whether the text stands in for a secret, such as CHANGE-ME, your-key, <key> or 0000.0000."""
    if not isinstance(value, str):
        return False
    # in a random value a word is chance
    well_formed = ZAI_KEY.fullmatch(value) or STRONG_MASTER_KEY.fullmatch(value)
    return len(set(value) - {"."}) < 4 or (not well_formed and PLACEHOLDER.search(value) is not None)


def _text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole_number(value: object, lowest: int, highest: int) -> bool:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        return False
    return lowest <= int(str(value)) <= highest


def _state(key: Mapping[str, Any]) -> str:
    return str(key.get("state", "active"))


def _mappings(entries: object) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def _variable_name(name: object) -> str:
    """How the name appears in the environment, where `a-b`, `a.b` and `A_B` are one."""
    return re.sub(r"[^A-Z0-9]", "_", str(name).upper())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_faults": faults, "litellm_proxy_warnings": warnings}
