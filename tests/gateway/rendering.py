"""The role's own templates, rendered by Ansible with the role's own variables."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "roles" / "litellm_gateway"


@cache
def _loader() -> DataLoader:
    init_plugin_loader()
    return DataLoader()


def variables(**changes: object) -> dict[str, Any]:
    """The role's variables; `changes` go by the names without `litellm_gateway_`, internal ones by their own."""
    found: dict[str, Any] = {"ansible_managed": "Ansible managed"}
    for path in ("defaults/main.yml", "vars/main.yml"):
        found |= _loader().load_from_file(str(ROLE / path), trusted_as_template=True)
    for name, value in changes.items():
        own = name if name.startswith("__litellm_gateway_") else f"litellm_gateway_{name}"
        assert own in found, f"the role has no variable {own}"
        found[own] = value
    return found


def render(template: str, settings: dict[str, Any]) -> str:
    """A template of the role, as the template module writes it."""
    text = trust_as_template((ROLE / "templates" / template).read_text())
    templar = Templar(loader=_loader(), variables=settings)
    overrides = {"trim_blocks": True, "keep_trailing_newline": True}
    return str(templar.copy_with_new_env().template(text, overrides=overrides))
