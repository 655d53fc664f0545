"""LiteLLM's routing callback: which API of the upstream serves a request, and the way into the pool.

config.yaml names one of the instances at the end of this module in `litellm_settings.callbacks`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from litellm.integrations.custom_logger import CustomLogger
from starlette.exceptions import HTTPException

from glm_pool.access import the_access
from glm_pool.client_errors import ClientError
from glm_pool.names import pools_of, resolve
from glm_pool.request_state import current

logger = logging.getLogger("LiteLLM Router")

NO_MEMORY = ClientError(
    400,
    "previous_response_not_kept",
    "Answers are not kept: leave previous_response_id out, and send the whole conversation as input.",
)

Deployment = dict[str, Any]
"""An entry of LiteLLM's model_list; `model_info` carries our `pool` and `api`."""


class PoolRouter(CustomLogger):
    """Narrows LiteLLM's deployments to those of the API that the client speaks.

    Anthropic messages stay Anthropic messages, and an OpenAI client's request is not translated either.
    """

    async def async_pre_call_hook(
        self, user_api_key_dict: object, cache: object, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Resolve a wildcard alias to its pool, as LiteLLM never cools deployments behind a wildcard; keep the limit.

        Raises:
            HTTPException: 403, the client may not use the pool; 400, the request goes on from an answer before.
        """
        # OpenAI's newer name of the limit, which LiteLLM would drop on the way to Z.AI
        if (limit := data.pop("max_completion_tokens", None)) is not None and data.get("max_tokens") is None:
            data["max_tokens"] = limit
        model = data.get("model")
        if isinstance(model, str):
            _require_access(model)
            if data.get("previous_response_id") and pools_of(model):
                _refuse(NO_MEMORY)  # LiteLLM would answer without the turns before
            data["model"] = resolve(model)
        return data

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Deployment],
        messages: object,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: object = None,
    ) -> list[Deployment]:
        """Return the deployments of the fitting API; all where there is none."""
        ours = [deployment for deployment in healthy_deployments if _info(deployment).get("pool")]
        return _prefer_api(ours, _wanted_api(request_kwargs or {})) if ours else healthy_deployments

    async def async_post_call_failure_deployment_hook(
        self,
        request_data: Mapping[str, Any],
        exception: Exception,
        call_type: object,
        fallback_depth: int | None = None,
    ) -> None:
        """Name the key that failed: where another one answers, LiteLLM itself says nothing.

        Only the status is written: an upstream's message may repeat the key.
        """
        info = request_data.get("model_info") or {}
        if info.get("key"):  # the pool scheduler writes its own lines
            logger.warning(
                "pool key failed: key=%s pool=%s api=%s status=%s error=%s",
                info["key"],
                info.get("pool", "?"),
                info.get("api", "?"),
                getattr(exception, "status_code", "-"),
                type(exception).__name__,
            )


def _require_access(model: str) -> None:
    """The transport below LiteLLM does so as well, where it is the pool that chooses the keys."""
    state = current()
    if state.visit is None:
        return
    for pool in pools_of(model):
        state.pool = pool
        if refusal := the_access().refusal(state.visit.client, pool):
            _refuse(refusal)


def _refuse(error: ClientError) -> NoReturn:
    current().error = error
    raise HTTPException(error.status, error.message)


def _info(deployment: Deployment) -> dict[str, Any]:
    info: dict[str, Any] = deployment.get("model_info") or {}
    return info


def _wanted_api(request: Mapping[str, Any]) -> str:
    """The upstream API for a request: `anthropic` or `openai`.

    Token counting reaches the router with no request at all and only the Anthropic API offers it. Z.AI's OpenAI
    API takes no `tool_choice` but `auto`; its Anthropic API does.
    """
    if "litellm_logging_obj" not in request:
        return "anthropic"
    url = str((request.get("proxy_server_request") or {}).get("url", ""))
    if "/messages" in urlsplit(url).path:
        return "anthropic"
    return "openai" if request.get("tool_choice") in (None, "auto", "none") else "anthropic"


def _prefer_api(deployments: Sequence[Deployment], api: str) -> list[Deployment]:
    """Those of the wanted API; the others serve it too, less faithfully, when none of these is there."""
    return [d for d in deployments if _info(d).get("api") == api] or list(deployments)


def __getattr__(name: str) -> PoolRouter:
    """Make the callback when LiteLLM asks for it: `pool_scheduler`, or `litellm_strategy` where LiteLLM chooses."""
    if name not in ("pool_scheduler", "litellm_strategy"):
        raise AttributeError(name)
    from glm_pool.plugin import install  # only inside LiteLLM

    install()
    return PoolRouter()
