"""What the scenario `clients` deploys, and where its results are."""

import os
from pathlib import Path
from typing import Any

import yaml
from host_support import REPOSITORY, SETTINGS

SCENARIO = REPOSITORY / "molecule" / "clients"
EPHEMERAL = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "."))
RESULTS = EPHEMERAL / "compatibility.json"
"""What each cell of the page is, as scripts/compatibility.py reads it."""
CERTIFICATE = EPHEMERAL / "certificate.json"
"""Settings with the proxy's certificate and its key."""

DEPLOYED: dict[str, Any] = yaml.safe_load((SCENARIO / "vars" / "settings.yml").read_text())
CLIENT_KEYS: dict[str, str] = {entry["name"]: entry["key"] for entry in DEPLOYED["litellm_proxy_client_keys"]}
"""By client; `others` is for what a test does beside them."""
LATER: dict[str, str] = yaml.safe_load((SCENARIO / "vars" / "values.yml").read_text())["later_values"]
ROTATED = {
    **DEPLOYED,
    "litellm_proxy_zai_keys": [{**key, "key": LATER[key["name"]]} for key in SETTINGS["litellm_proxy_zai_keys"]],
}
"""The same with another value for each key."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG image."""
PAGE = (
    "JVBERi0xLjQKMSAwIG9iago8PC9UeXBlL0NhdGFsb2cvUGFnZXMgMiAwIFI+PgplbmRvYmoKMiAwIG9iago8PC9UeXBlL1BhZ2VzL0tpZHNbMyAwIFJd"
    "L0NvdW50IDE+PgplbmRvYmoKMyAwIG9iago8PC9UeXBlL1BhZ2UvUGFyZW50IDIgMCBSL01lZGlhQm94WzAgMCA5IDldPj4KZW5kb2JqCnRyYWlsZXI8"
    "PC9Sb290IDEgMCBSPj4K"
)
"""A PDF document of one empty page."""
