"""LiteLLM's `custom_auth`: the master key and the clients' keys, without a database.

LiteLLM answers a wrong key with 400 where it has no database; clients understand 401 only.
"""

import os
import re

from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth
from starlette.requests import Request

from glm_pool.access import the_access
from glm_pool.client_errors import ClientError
from glm_pool.master_key import MASTER_KEY_VARIABLE
from glm_pool.names import the_names
from glm_pool.request_state import current

CLIENTS_PATHS = re.compile(r"(/v1)?/models(/[^/]+)*|/health/(liveliness|liveness|readiness)")
"""What a client may read beside the answers of models; all else is the administrator's."""


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Accept the master key or a client's, in any header that LiteLLM reads keys from.

    Raises:
        ProxyException: 401 for every other value, 403 where a client has no business; neither repeats what was sent.
    """
    visit = current().visit
    client = visit.client if visit else the_access().identify(api_key or "")
    if isinstance(client, ClientError):
        raise _refused(client)
    if client.is_master:
        return UserAPIKeyAuth(api_key=os.environ[MASTER_KEY_VARIABLE], user_role=LitellmUserRoles.PROXY_ADMIN)
    if visit is None and not CLIENTS_PATHS.fullmatch(request.url.path.rstrip("/")):
        raise _refused(ClientError(403, "not_for_clients", f"{request.url.path} is for the master key alone."))
    return UserAPIKeyAuth(
        api_key=client.sha256,
        key_alias=client.name,
        user_id=client.name,
        user_role=LitellmUserRoles.INTERNAL_USER,
        # what /v1/models lists
        models=[] if client.pools is None else [name for name, pool in the_names().items() if pool in client.pools],
    )


def _refused(error: ClientError) -> ProxyException:
    kind = "authentication_error" if error.status == 401 else "permission_error"
    return ProxyException(message=error.message, type=kind, param="api_key", code=error.status)
