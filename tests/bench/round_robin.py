"""What stock LiteLLM needs for strict turns: a callback beside config.yaml, as its users write it."""

from typing import Any

from litellm.integrations.custom_logger import CustomLogger


class RoundRobin(CustomLogger):  # type: ignore[misc]  # LiteLLM is not part of the tool chain
    """Offers one deployment, the next in turn of those that LiteLLM holds healthy."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: object,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: object = None,
    ) -> list[dict[str, Any]]:
        """Return the next one, in the order of their names; those that this request has tried are left out."""
        tried = (request_kwargs or {}).get("_excluded_deployment_ids") or ()
        open_ones = [d for d in healthy_deployments if d["model_info"]["id"] not in tried]
        if not open_ones:
            return healthy_deployments
        self._turn += 1
        return [sorted(open_ones, key=lambda d: str(d["model_info"]["id"]))[self._turn % len(open_ones)]]


callback = RoundRobin()
