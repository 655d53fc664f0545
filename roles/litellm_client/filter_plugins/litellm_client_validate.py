"""Filters that judge the settings of the workstations on the controller, before any host is touched."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

STATES = ("present", "absent")
SCOPES = ("machine", "user")
VERIFY = ("fail", "warn", "off")
TOOLS = ("claude", "codex", "environment")
MODELS = ("opus", "sonnet", "haiku", "default")
TOKEN_LENGTH, TOKEN_VARIETY = 20, 8
LIMITS = {
    "litellm_client_timeout": (1, 86400),
    "litellm_client_context_tokens": (0, 10_000_000),
    "litellm_client_verify_timeout": (1, 300),
}
"""Lowest and highest value of each number."""
TOKEN_VARIABLES = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "OPENAI_API_KEY")

PLACEHOLDER = re.compile(r"change.?me|replace|your[-_ ]|placeholder|example|dummy|todo|xxxx|<|>|\.\.\.", re.IGNORECASE)
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*(\[1m\])?")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}\$?")
PROVIDER = re.compile(r"[A-Za-z0-9_-]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATH = re.compile(r"/[^\x00-\x1f]*[^\x00-\x1f/]")

Settings = Mapping[str, Any]


def faults(settings: Settings) -> list[str]:
    """List everything that is wrong, one sentence each: the variable, what is wrong, what to do.

    Args:
        settings: the role's public variables by name.

    Returns:
        The faults, empty when the settings can work; none repeats the token.
    """
    if settings["litellm_client_state"] == "absent":
        return [*_users(settings), *_paths(settings)]
    return [
        *_choices(settings),
        *_url(settings),
        *_token(settings),
        *_models(settings),
        *_users(settings),
        *_numbers(settings),
        *_paths(settings),
        *_names(settings),
        *_environments(settings),
    ]


def warnings(settings: Settings) -> list[str]:
    """List what works but should be known, one sentence each."""
    if settings["litellm_client_state"] == "absent":
        return []
    return [*_plain_http(settings)]


def _choices(settings: Settings) -> Iterator[str]:
    for name, allowed in (("state", STATES), ("scope", SCOPES), ("verify", VERIFY)):
        value = settings[f"litellm_client_{name}"]
        if value not in allowed:
            yield f"litellm_client_{name} is {value!r}: use one of {', '.join(allowed)}."
    tools = settings["litellm_client_tools"]
    if not _is_list(tools) or not tools or any(tool not in TOOLS for tool in tools):
        yield f"litellm_client_tools is {tools!r}: use a list of some of {', '.join(TOOLS)}."


def _url(settings: Settings) -> Iterator[str]:
    name, url = "litellm_client_url", settings["litellm_client_url"]
    form = "use http://HOST:PORT or https://HOST:PORT"
    if not url:
        yield f"{name} is not set: {form}, the address of the proxy as this machine reaches it."
        return
    try:
        parts = urlsplit(str(url))
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        yield f"{name} is malformed: {form}."
        return
    if parts.username is not None or parts.password is not None or "@" in str(url):
        yield f"{name} holds a user or a password: {form}, the token goes into litellm_client_token."
    elif (
        not isinstance(url, str)
        or parts.scheme not in ("http", "https")
        or not HOST.fullmatch(parts.netloc.rpartition(":")[0] if parts.port is not None else parts.netloc)
        or not port_is_good
    ):
        yield f"{name} is {url!r}: {form}."
    elif parts.path.rstrip("/").endswith("/v1"):
        yield f"{name} ends with /v1: leave it out, the role adds it for the programs that want it."
    elif parts.path or parts.query or parts.fragment or url.endswith(("?", "#")):
        yield f"{name} is {url!r}, with something behind host and port: {form} alone."
    elif PLACEHOLDER.search(url) and not re.search(r"\bexample\.(com|net|org)\b", url):
        yield f"{name} is a placeholder: {form}, the address of the proxy as this machine reaches it."


def _token(settings: Settings) -> Iterator[str]:
    name, token = "litellm_client_token", settings["litellm_client_token"]
    get = "put a client key of the proxy into the vault, one for each machine"
    if not token:
        yield f"{name} is not set for this host: {get}."
    elif not isinstance(token, str):
        yield f"{name} is no text: quote it in the vault."
    elif PLACEHOLDER.search(token):
        yield f"{name} is a placeholder: {get}."
    elif not re.fullmatch(r"[!-~]+", token):
        yield f"{name} has white space or characters that no HTTP header carries: copy it again."
    elif len(token) < TOKEN_LENGTH or len(set(token)) < TOKEN_VARIETY:
        yield (
            f"{name} is too short or simple for a key of the proxy ({TOKEN_LENGTH} characters or more, "
            f"{TOKEN_VARIETY} of them different): copy it again."
        )


def _models(settings: Settings) -> Iterator[str]:
    name, models = "litellm_client_models", settings["litellm_client_models"]
    if not isinstance(models, Mapping):
        yield f"{name} must be a mapping with some of {', '.join(MODELS)}."
        return
    for key, model in models.items():
        if key not in MODELS:
            yield f"{name} has an unknown key '{key}': use {', '.join(MODELS)}."
        elif not isinstance(model, str) or not MODEL.fullmatch(model):
            yield f"{name}.{key} is {model!r}: use a name that the proxy's /v1/models lists, or leave the key out."


def _users(settings: Settings) -> Iterator[str]:
    name, users = "litellm_client_users", settings["litellm_client_users"]
    if not _is_list(users):
        yield f"{name} must be a list of users' names."
        return
    for index, user in enumerate(users):
        if not isinstance(user, str) or not ACCOUNT.fullmatch(user):
            yield f"{name}[{index}] is {user!r}: use the name of a user of the machine."
        elif user in users[:index]:
            yield f"{name} has {user} twice: remove one."
    if settings["litellm_client_scope"] == "user" and settings["litellm_client_state"] == "present" and not users:
        yield f"{name} is empty: name the users to set up, or set litellm_client_scope to machine."


def _numbers(settings: Settings) -> Iterator[str]:
    for name, (lowest, highest) in LIMITS.items():
        value = settings[name]
        good = not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)) and lowest <= int(value) <= highest
        if not good:
            yield f"{name} is {value!r}: use a whole number from {lowest} to {highest}."


def _paths(settings: Settings) -> Iterator[str]:
    for part in ("directory", "claude_directory", "codex_directory", "profile_file", "ca_bundle"):
        name, path = f"litellm_client_{part}", settings[f"litellm_client_{part}"]
        if part in ("profile_file", "ca_bundle") and path == "":
            continue
        if not isinstance(path, str) or not PATH.fullmatch(path) or ".." in path.split("/"):
            yield f"{name} is {path!r}: use an absolute path."


def _names(settings: Settings) -> Iterator[str]:
    group, provider = settings["litellm_client_group"], settings["litellm_client_codex_provider"]
    if not isinstance(group, str) or not ACCOUNT.fullmatch(group):
        yield f"litellm_client_group is {group!r}: use the name of the group whose members may use the token."
    if (
        not isinstance(provider, str)
        or not PROVIDER.fullmatch(provider)
        or provider in ("openai", "ollama", "lmstudio")
    ):
        yield f"litellm_client_codex_provider is {provider!r}: use letters, digits, '_', '-', no name of Codex's own."


def _environments(settings: Settings) -> Iterator[str]:
    token = settings["litellm_client_token"]
    for name in ("litellm_client_claude_env", "litellm_client_environment"):
        variables = settings[name]
        if not isinstance(variables, Mapping):
            yield f"{name} must be a mapping of variables' names to values."
            continue
        for key, value in variables.items():
            if not isinstance(key, str) or not VARIABLE.fullmatch(key):
                yield f"{name} has {key!r}: use a name of letters, digits and '_'."
            elif key in TOKEN_VARIABLES:
                yield f"{name} has {key}, and everybody can read the file: use litellm_client_token."
            elif not isinstance(value, str | int | float) or "\n" in str(value):
                yield f"{name}.{key} must be one line of text, a number or a truth value."
            elif token and str(token) in str(value):
                yield f"{name}.{key} holds the token, and everybody can read the file: remove it there."
    config = settings["litellm_client_codex_config"]
    if not isinstance(config, Mapping):
        yield "litellm_client_codex_config must be a mapping of Codex's settings."
    elif token and str(token) in str(config):
        yield "litellm_client_codex_config holds the token, and everybody can read the file: remove it there."


def _plain_http(settings: Settings) -> Iterator[str]:
    parts = urlsplit(settings["litellm_client_url"])
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        yield (
            "litellm_client_url is http: token and prompts cross the network in the clear; use https "
            "(docs/gateway.md), or a network that you trust."
        )


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_client_faults": faults, "litellm_client_warnings": warnings}
