"""LiteLLM's routing callback: which key and which of its two APIs serves a request.

config.yaml names one of the instances at the end of this module in `litellm_settings.callbacks`.
"""

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from litellm.integrations.custom_logger import CustomLogger

from glm_pool.strategies import LeastConnections, RoundRobin, Strategy, Weighted

logger = logging.getLogger("LiteLLM Router")

Deployment = dict[str, Any]
"""An entry of LiteLLM's model_list; `model_info` carries our `pool`, `key`, `api` and `weight`."""


class PoolRouter(CustomLogger):
    """Narrows LiteLLM's healthy deployments to the one that is next.

    A request goes to the API of the upstream that is the client's own (Anthropic messages stay Anthropic
    messages), and a retried request never meets a key that it has tried while there is another.
    """

    def __init__(self, make_strategy: Callable[[Mapping[str, float]], Strategy] | None) -> None:
        super().__init__()
        self._make_strategy = make_strategy
        self._strategy: Strategy | None = None
        # LiteLLM keeps one logging object a request over all its tries, and drops it when the request is over:
        # what is held here can not outlive the request.
        self._tried: weakref.WeakKeyDictionary[object, list[str]] = weakref.WeakKeyDictionary()
        self._finished: weakref.WeakSet[object] = weakref.WeakSet()

    async def async_pre_call_hook(
        self, user_api_key_dict: object, cache: object, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Resolve a wildcard alias to its pool: LiteLLM never cools deployments behind a wildcard."""
        model = data.get("model")
        if isinstance(model, str):
            data["model"] = _pool_of(model) or model
        return data

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Deployment],
        messages: object,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: object = None,
    ) -> list[Deployment]:
        """Return the one deployment to use, or all that fit where LiteLLM's own strategy chooses."""
        ours = [d for d in healthy_deployments if _info(d).get("key")]
        if not ours:
            return healthy_deployments
        request = request_kwargs or {}
        tracker = request.get("litellm_logging_obj")
        tried = self._tried.get(tracker, []) if tracker is not None else []
        untried = [d for d in ours if _info(d)["key"] not in tried] or ours
        fitting = _prefer_api(untried, _wanted_api(request))
        if self._make_strategy is None:
            return fitting
        if tracker is None:  # count_tokens: costs nothing upstream, takes no turn
            return fitting[:1]
        if self._strategy is None:
            self._strategy = self._make_strategy(_weights())
        by_key = {str(_info(d)["key"]): d for d in fitting}
        chosen = self._strategy.pick(str(_info(fitting[0])["pool"]), sorted(by_key), self._in_flight())
        self._tried[tracker] = [*tried, chosen]
        self._finished.discard(tracker)  # the try before was logged as failed; this one runs
        return [by_key[chosen]]

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
        logger.warning(
            "pool key failed: key=%s pool=%s api=%s status=%s error=%s",
            info.get("key", "?"),
            info.get("pool", "?"),
            info.get("api", "?"),
            getattr(exception, "status_code", "-"),
            type(exception).__name__,
        )

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """Count the request out; a streamed one ends here with its last chunk."""
        self._finish(kwargs)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: object, start_time: object, end_time: object
    ) -> None:
        """Count the request out."""
        self._finish(kwargs)

    def _finish(self, kwargs: Mapping[str, Any]) -> None:
        call_id = kwargs.get("litellm_call_id")
        for tracker in list(self._tried):
            if getattr(tracker, "litellm_call_id", None) == call_id:
                self._finished.add(tracker)

    def _in_flight(self) -> Counter[str]:
        """Running requests by key name."""
        return Counter(
            keys[-1] for tracker, keys in list(self._tried.items()) if keys and tracker not in self._finished
        )


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
    """Those of the wanted API; the others serve it too, less faithfully, when none of these is healthy."""
    return [d for d in deployments if _info(d).get("api") == api] or list(deployments)


def _router() -> Any:
    from litellm.proxy import proxy_server  # at call time: the router exists only after start

    return proxy_server.llm_router


def _weights() -> dict[str, float]:
    infos = (_info(deployment) for deployment in _router().model_list)
    return {str(info["key"]): float(info.get("weight", 1)) for info in infos if info.get("key")}


@cache
def _wildcards() -> dict[str, str]:
    """Pool name by wildcard alias; fixed once the router exists, as config.yaml is."""
    return {
        str(deployment["model_name"]): str(_info(deployment)["pool"])
        for deployment in _router().model_list
        if "*" in str(deployment["model_name"]) and _info(deployment).get("pool")
    }


def _pool_of(model: str) -> str | None:
    """The pool behind the longest wildcard alias that matches `model`, if `model` is not a name of its own."""
    router = _router()
    if router is None or model in router.model_names or model in router.model_group_alias:
        return None
    matching = [pattern for pattern in _wildcards() if fnmatchcase(model, pattern)]
    return _wildcards()[max(matching, key=len)] if matching else None


round_robin = PoolRouter(lambda weights: RoundRobin())
least_connections = PoolRouter(lambda weights: LeastConnections())
weighted = PoolRouter(Weighted)
litellm_strategy = PoolRouter(None)
