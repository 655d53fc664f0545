"""Whose request it is: from the headers to a key of the table."""

from __future__ import annotations

from collections.abc import Mapping

from .config import Config, Key
from .errors import refusal


def authenticate(headers: Mapping[str, str], config: Config, *, x_api_key: bool) -> Key:
    """Return the key a request came with; ``Authorization`` goes before ``x-api-key``.

    Args:
        headers: The request's headers, with names in any letter case.
        config: The table in force.
        x_api_key: Whether this endpoint takes ``x-api-key`` too.

    Raises:
        Refusal: 1001 no key, 1002 not a Bearer key, 1000 unknown.
    """
    secret = _presented(headers, x_api_key=x_api_key)
    for key in config.keys.values():
        if key.key == secret:
            return key
    raise refusal("1000")


def check_usable(key: Key, plans: tuple[str, ...]) -> None:
    """Refuse a revoked key, and one whose plan does not pay for this endpoint.

    Raises:
        Refusal: 1004 revoked, 1113 wrong plan.
    """
    if key.revoked:
        raise refusal("1004")
    if key.plan not in plans:
        raise refusal("1113")


def _presented(headers: Mapping[str, str], *, x_api_key: bool) -> str:
    authorization = headers.get("Authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip() or " " in secret.strip():
            raise refusal("1002")
        return secret.strip()
    secret = headers.get("x-api-key", "") if x_api_key else ""
    if not secret:
        raise refusal("1001")
    return secret.strip()
