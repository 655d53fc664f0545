"""Filter that makes, from the role's settings, what each account of a workstation shall have in which file."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

Settings = Mapping[str, Any]
File = dict[str, Any]

LARGE_CONTEXT = 200_000
"""Tokens; a window up to this has no use for Claude Code's 1M mode."""
HEADER = "# Ansible managed (role litellm_client): changes here are overwritten.\n"
HELPER = "/usr/local/lib/litellm-client/print-token"
USER_DIRECTORY = "~/.config/litellm-client"
LOGIN_FILES: dict[str, list[str] | None] = {
    "~/.profile": None,
    "~/.bash_profile": [],
    "~/.bash_login": [],
    "~/.zprofile": ["zsh"],
}
"""What login shells read, and whose it is made for where it is not there (None: everybody's)."""
QUIET = (
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_TELEMETRY",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_AUTOUPDATER",
)
"""What keeps Claude Code to the endpoint."""
HELPER_TIMEOUT, HELPER_REFRESH = 5000, 300_000
"""Milliseconds: how long Codex waits for the token, and how long it keeps it."""


def accounts(settings: Settings) -> list[dict[str, Any]]:
    """List the machine and the users, each with the files of the present settings.

    Args:
        settings: the role's public variables by name, valid.

    Returns:
        One entry an account: user ("" for the machine), present (false: take out what is there), record,
        directory_mode, and files with path, mode and format; own files have their content, merged ones settings. The
        machine has group and members besides.
    """
    here = settings["litellm_client_state"] == "present"
    machine = here and settings["litellm_client_scope"] == "machine"
    users = [] if machine else settings["litellm_client_users"]
    directory = settings["litellm_client_directory"]
    return [
        {
            "user": "",
            "present": machine,
            "record": f"{directory}/record.json",
            "directory_mode": "0755",
            "files": list(_of_machine(settings)),
            "group": settings["litellm_client_group"],
            "members": list(settings["litellm_client_users"]) if machine else [],
        },
        *(
            {
                "user": user,
                "present": here,
                "record": f"{USER_DIRECTORY}/record.json",
                "directory_mode": "0700",
                "files": list(_of_user(settings)),
            }
            for user in users
        ),
    ]


def places(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return where the module litellm_client_read shall look, from what `accounts` returned."""
    return [
        {
            "user": account["user"],
            "record": account["record"],
            "paths": [file["path"] for file in account["files"] if "create_for" not in file],
            "merged": [file["path"] for file in account["files"] if file["format"] != "own"],
        }
        for account in wanted
    ]


def claude_settings(settings: Settings, helper: str) -> dict[str, Any]:
    """Return Claude Code's settings; the value of each variable is a text, as in its settings files."""
    models, context = settings["litellm_client_models"], int(settings["litellm_client_context_tokens"])
    environment: dict[str, object] = {"ANTHROPIC_BASE_URL": settings["litellm_client_url"]}
    for tier in ("opus", "sonnet", "haiku"):
        if models.get(tier):
            environment[f"ANTHROPIC_DEFAULT_{tier.upper()}_MODEL"] = models[tier]
    if models.get("default"):
        environment["ANTHROPIC_MODEL"] = models["default"]
    environment["API_TIMEOUT_MS"] = int(settings["litellm_client_timeout"]) * 1000
    environment |= dict.fromkeys(QUIET, 1)
    environment["CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"] = 1
    if context:
        environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = context
    if 0 < context <= LARGE_CONTEXT:
        environment["CLAUDE_CODE_DISABLE_1M_CONTEXT"] = 1
    if settings["litellm_client_ca_bundle"]:
        environment["NODE_EXTRA_CA_CERTS"] = settings["litellm_client_ca_bundle"]
    environment |= settings["litellm_client_claude_env"]
    return {"apiKeyHelper": helper, "env": {name: _text(value) for name, value in environment.items()}}


def codex_config(settings: Settings, command: list[str]) -> dict[str, Any]:
    """Return Codex's config: the endpoint as a provider whose token comes from a command."""
    models, provider = settings["litellm_client_models"], settings["litellm_client_codex_provider"]
    model, context = models.get("default") or models.get("opus"), int(settings["litellm_client_context_tokens"])
    config: dict[str, Any] = {"model": _plain_name(model)} if model else {}
    if context:
        config["model_context_window"] = context
    config["model_provider"] = provider
    config["model_providers"] = {
        provider: {
            "name": "LiteLLM",
            "base_url": f"{settings['litellm_client_url']}/v1",
            "wire_api": "responses",
            "auth": {
                "command": command[0],
                "args": command[1:],
                "timeout_ms": HELPER_TIMEOUT,
                "refresh_interval_ms": HELPER_REFRESH,
            },
        }
    }
    return _merged(config, settings["litellm_client_codex_config"])


def shell_environment(settings: Settings, token_file: str) -> str:
    """Return lines for POSIX shells: the variables of the SDKs, for those who may read the token's file."""
    url, bundle = settings["litellm_client_url"], settings["litellm_client_ca_bundle"]
    variables: dict[str, object] = {"OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url}
    if bundle:
        variables |= {"NODE_EXTRA_CA_CERTS": bundle, "CODEX_CA_CERTIFICATE": bundle}
    variables |= settings["litellm_client_environment"]
    lines = [f"export {name}={shlex.quote(_text(value))}" for name, value in variables.items()]
    file = _home_quoted(token_file)
    return "\n".join(
        [
            f"if [ -r {file} ]; then",
            *(f"  {line}" for line in lines),
            f"  OPENAI_API_KEY=$(cat {file})",
            "  ANTHROPIC_AUTH_TOKEN=$OPENAI_API_KEY",
            "  export OPENAI_API_KEY ANTHROPIC_AUTH_TOKEN",
            "fi",
        ]
    )


def helper_script(token_file: str, group: str) -> str:
    """Return the script that prints the token to those who may read it, and tells the others what to do."""
    file = shlex.quote(token_file)
    return f"""#!/bin/sh
# Prints the token of the LiteLLM endpoint; Claude Code (apiKeyHelper) and Codex (auth.command) run it.
if [ ! -r {file} ]; then
  echo "litellm-client: $(id -un) may not read {file}: ask to join the group {group}, then log in again." >&2
  exit 1
fi
exec cat {file}
"""


def _of_machine(settings: Settings) -> Iterator[File]:
    directory, group = settings["litellm_client_directory"], settings["litellm_client_group"]
    token = f"{directory}/token"
    tools = settings["litellm_client_tools"]
    yield {"path": token, "format": "own", "mode": "0640", "group": group, "secret": True, "content": _token(settings)}
    script = helper_script(token, group).replace("\n", f"\n{HEADER}", 1)
    yield {"path": HELPER, "format": "own", "mode": "0755", "content": script}
    if "claude" in tools:
        path = f"{settings['litellm_client_claude_directory']}/managed-settings.d/50-litellm.json"
        content = json.dumps(claude_settings(settings, shlex.quote(HELPER)), indent=2) + "\n"
        yield {"path": path, "format": "own", "mode": "0644", "content": content}
    if "codex" in tools:
        yield _codex_file(settings, f"{settings['litellm_client_codex_directory']}/config.toml", "0644", [HELPER])
    if "environment" in tools and settings["litellm_client_profile_file"]:
        content = f"{HEADER}{shell_environment(settings, token)}\n"
        yield {"path": settings["litellm_client_profile_file"], "format": "own", "mode": "0644", "content": content}


def _of_user(settings: Settings) -> Iterator[File]:
    token, environment = f"{USER_DIRECTORY}/token", f"{USER_DIRECTORY}/environment.sh"
    tools = settings["litellm_client_tools"]
    yield {"path": token, "format": "own", "mode": "0600", "secret": True, "content": _token(settings)}
    if "claude" in tools:
        yield {
            "path": "~/.claude/settings.json",
            "format": "json",
            "mode": "0600",
            "settings": list(_leaves(claude_settings(settings, f"cat {_home_quoted(token)}"))),
            "conflicts": [
                {
                    "path": ["env", name],
                    "level": "warnings",
                    "message": f"has env.{name}, which Claude Code prefers to the token of this role: remove it there.",
                }
                for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
            ],
        }
    if "codex" in tools:
        # Codex runs no shell that would know the home
        command = ["/bin/sh", "-c", f"cat {_home_quoted(token)}"]
        yield _codex_file(settings, "~/.codex/config.toml", "0600", command)
    if "environment" in tools:
        content = f"{HEADER}{shell_environment(settings, token)}\n"
        yield {"path": environment, "format": "own", "mode": "0600", "content": content}
        file = _home_quoted(environment)
        for path, shells in LOGIN_FILES.items():
            yield {
                "path": path,
                "format": "block",
                "mode": "0644",
                "create_for": shells,
                "settings": [[[], f"[ ! -r {file} ] || . {file}"]],
            }


def _codex_file(settings: Settings, path: str, mode: str, command: list[str]) -> File:
    provider = settings["litellm_client_codex_provider"]
    return {
        "path": path,
        "format": "toml",
        "mode": mode,
        "settings": list(_leaves(codex_config(settings, command))),
        "conflicts": [
            {
                "path": ["model_providers", provider, name],
                "level": "faults",
                "message": f"has a provider '{provider}' of its own (with {name}): name ours otherwise with "
                "litellm_client_codex_provider.",
            }
            for name in ("env_key", "experimental_bearer_token", "aws", "requires_openai_auth")
        ],
    }


def _token(settings: Settings) -> str:
    return f"{settings['litellm_client_token']}\n"


def _plain_name(model: str) -> str:
    """A model's name without the suffix that Claude Code alone knows."""
    return model.removesuffix("[1m]")


def _home_quoted(path: str) -> str:
    """A path for a shell, the home as it is when the shell runs."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def _text(value: object) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def _merged(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for name, value in other.items():
        old = result.get(name)
        result[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[list[Any]]:
    """Path of keys and value of each setting; a mapping is its settings."""
    for name, one in value.items():
        if isinstance(one, Mapping):
            yield from _leaves(one, (*path, name))
        else:
            yield [[*path, name], one]


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_client_accounts": accounts, "litellm_client_places": places}
