"""The proxy over HTTP."""

import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from typing import Any

from proxyctl.exits import Exit, Failure

SECONDS = 10
OWN_STRATEGY = (
    "the state of keys is unknown: this proxy runs one of LiteLLM's own routing strategies, which have none "
    "(litellm_proxy_routing_strategy)"
)


class Unreachable(Exception):
    """Nobody answers."""


class Client:
    """Asks one instance, or the endpoint.

    Args:
        url: without a slash at the end.
        master_key: sent along; empty for none.
        ca_bundle: PEM file of trusted certificates; without one what the system trusts.
    """

    def __init__(self, url: str, master_key: str = "", ca_bundle: str = "") -> None:
        self.url = url.rstrip("/")
        self._key = master_key
        trust = ssl.create_default_context(cafile=ca_bundle if ca_bundle and os.path.exists(ca_bundle) else None)  # noqa: PTH110
        # no proxy from the environment, which would see the key
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )

    def get(self, path: str, *, authorized: bool = False) -> tuple[int, Any]:
        """HTTP status and parsed JSON (None where it is none); Unreachable when nobody answers."""
        headers = {"Authorization": f"Bearer {self._key}"} if authorized else {}
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            try:
                with self._opener.open(request, timeout=SECONDS) as response:
                    return response.status, _parsed(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, _parsed(error.read())
        except urllib.error.URLError as error:
            raise Unreachable(str(getattr(error.reason, "strerror", None) or error.reason)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(str(getattr(error, "strerror", None) or error) or type(error).__name__) from error

    def alive(self) -> bool:
        """Whether it says so."""
        try:
            return self.get("/health/liveliness")[0] == http.HTTPStatus.OK
        except Unreachable:
            return False

    def models(self) -> list[str]:
        """The names that it serves, sorted; Unreachable where it does not say."""
        status, document = self.get("/v1/models", authorized=True)
        if status != http.HTTPStatus.OK or not isinstance(document, dict):
            raise Unreachable(f"/v1/models was answered with {status}")
        return sorted(str(model.get("id")) for model in document.get("data", []))

    def pool(self) -> dict[str, Any] | None:
        """State of the keys; None where the proxy has none. Failure where it does not tell."""
        try:
            status, document = self.get("/pool/status", authorized=True)
        except Unreachable as error:
            raise Failure(
                Exit.DOWN, f"{self.url} does not answer ({error}): is it started, and reached from here?"
            ) from error
        if status == http.HTTPStatus.OK and isinstance(document, dict) and "keys" in document:
            return document
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status == http.HTTPStatus.UNAUTHORIZED:
            raise Failure(Exit.NO_PERMISSION, f"{self.url} refuses the master key.")
        if status == http.HTTPStatus.FORBIDDEN:
            raise Failure(
                Exit.NO_PERMISSION,
                f"{self.url} does not open /pool/status to this address: see litellm_gateway_admin_networks.",
            )
        raise Failure(
            Exit.FAILED, f"{self.url} answered /pool/status with {status}: is it this role's proxy, and well?"
        )


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
