"""A valid set of the role's settings, as the filters get it, and the places of the role's files."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "litellm_proxy"

MASTER_KEY = "sk-5f2c81d09be74a36a1b2c3d4e5f60718"
KEY_A = "8d2f4b6a0c1e3f5d7b9a8c6e4d2f1b3a.Qw3rTy7uIo9pAsDf"
KEY_B = "1b3d5f7a9c0e2d4f6b8a7c5e3d1f0b2c.Zx8cVb2nMq5wErTy"
KEY_C = "9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d.Lk6jHg4fDs2aPoIu"
SHIPPED = ["1.108.11"]
STATE_FILE = "/var/lib/litellm-proxy/pool-state.json"


def load(path: str) -> dict[str, Any]:
    """Read a YAML file of the role."""
    content: dict[str, Any] = yaml.safe_load((ROLE / path).read_text())
    return content


DEFAULTS = load("defaults/main.yml")
VARS = load("vars/main.yml")
OPTIONS: dict[str, dict[str, Any]] = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
ENDPOINTS: dict[str, Any] = VARS["__litellm_proxy_endpoints"]
SETTINGS: dict[str, str] = VARS["__litellm_proxy_settings"]
"""What the role hands to its filters: templates by variable name."""


def settings(**changes: object) -> dict[str, Any]:
    """The defaults with a master key and two Z.AI keys; `changes` go by the names without `litellm_proxy_`."""
    found = {name: DEFAULTS[name] for name in SETTINGS}
    # templates by mode in the defaults
    found |= {
        "litellm_proxy_home": "/opt/litellm-proxy",
        "litellm_proxy_config_dir": "/etc/litellm-proxy",
        "litellm_proxy_image_tag": "v1.108.11",
        "litellm_proxy_master_key_answers": True,
        "litellm_proxy_redis_hosts": [],
        "litellm_proxy_redis_url": "",
        "litellm_proxy_redis_ca": "",
        "litellm_proxy_front": "none" if changes.get("mode") == "process" else "gateway",
    }
    found["litellm_proxy_master_key"] = MASTER_KEY
    found["litellm_proxy_zai_keys"] = [key("team-a", KEY_A), key("team-b", KEY_B)]
    for name, value in changes.items():
        assert f"litellm_proxy_{name}" in found, f"the role hands no {name} to its filters"
        found[f"litellm_proxy_{name}"] = value
    if "generations_password" not in changes:
        found["litellm_proxy_generations_password"] = found["litellm_proxy_master_key"]
    return found


def key(name: str, value: object = KEY_A, **fields: object) -> dict[str, Any]:
    """One entry of litellm_proxy_zai_keys."""
    return {"name": name, "key": value, **fields}


def pool(name: str, model: str = "glm-5.3", *aliases: str) -> dict[str, Any]:
    """One entry of litellm_proxy_pools."""
    return {"name": name, "model": model, "aliases": list(aliases)}
