"""Authentication by the master key, without a database.

LiteLLM answers a wrong key with 400 where it has no database; clients understand 401 only.
"""

import hmac
import os

from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth
from starlette.requests import Request

MASTER_KEY_VARIABLE = "LITELLM_MASTER_KEY"


def is_master_key(presented: str) -> bool:
    """Whether a header's value, with or without `Bearer`, is the master key."""
    key = presented.removeprefix("Bearer ").strip()
    return hmac.compare_digest(key.encode(), os.environ[MASTER_KEY_VARIABLE].encode())


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Accept the master key, sent as `Authorization: Bearer` or `x-api-key`.

    Raises:
        ProxyException: 401 for every other value; it never repeats what was sent.
    """
    if not is_master_key(api_key or ""):
        raise ProxyException(
            message="Authentication failed: send the proxy's key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
            type="authentication_error",
            param="api_key",
            code=401,
        )
    return UserAPIKeyAuth(api_key=os.environ[MASTER_KEY_VARIABLE], user_role=LitellmUserRoles.PROXY_ADMIN)
