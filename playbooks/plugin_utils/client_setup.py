"""What a new client is told. The key itself stands in it once, so that it can be searched for and cut out."""

import json
from typing import Any

REFERENCE = "$LITELLM_CLIENT_KEY"


def text(name: str, key: str, url: str, model: str, small_model: str, note: str) -> str:
    """The set-up of every kind of client as lines for a terminal.

    Args:
        name: of the client.
        key: its key.
        url: base URL of the endpoint without a path.
        model: name of the pool for its requests.
        small_model: name of the pool for Claude Code's small ones.
        note: what is to be known of the URL; may be empty.
    """
    return f"""
# Client {name}: shown this once. Hand it over in a way that nobody else reads.{note and f"{chr(10)}# {note}"}
export LITELLM_CLIENT_KEY='{key}'

# Claude Code in a shell
{_exports(_claude(url, model, small_model), REFERENCE)}

# Claude Code in ~/.claude/settings.json, the key in the place of KEY
{json.dumps({"env": _claude(url, model, small_model) | {"ANTHROPIC_AUTH_TOKEN": "KEY"}}, indent=2)}

# OpenAI and Anthropic SDKs
{_exports({"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": ""}, REFERENCE)}
{_exports({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": ""}, REFERENCE)}

# Codex in ~/.codex/config.toml; it reads the key from the environment
model = {json.dumps(model)}
model_provider = "litellm"

[model_providers.litellm]
name = "LiteLLM"
base_url = "{url}/v1"
env_key = "LITELLM_CLIENT_KEY"
wire_api = "responses"

# curl
curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer {REFERENCE}" -H "Content-Type: application/json" \\
  -d '{json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})}'
"""


def _claude(url: str, model: str, small_model: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": "",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": small_model,
        "API_TIMEOUT_MS": "3000000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _exports(environment: dict[str, Any], secret: str) -> str:
    """Lines of a shell; the secret takes the place of empty values."""
    return "\n".join(f'export {name}="{value or secret}"' for name, value in environment.items())
