"""Filter that says what is wrong with the endpoint's answer to a machine that asked for its models."""

import json
from collections.abc import Mapping
from typing import Any


def refusal(answer: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Judge the result of Ansible's `uri` for GET /v1/models.

    Args:
        answer: the result; it is not repeated, as a server can put anything into it.
        settings: the role's public variables by name.

    Returns:
        What is wrong and what to do, without the token; "" where the endpoint can be used.
    """
    url = settings["litellm_client_url"]
    if "status" not in answer:
        return f"{url} was not asked, as Ansible failed on this machine itself: does it have a Python that works?"
    status = int(answer["status"] or -1)
    if status == -1:
        return _unreached(f"{answer.get('msg', '')}", settings)
    if status in (401, 403):
        return (
            f"{url} refuses the token (HTTP {status}): litellm_client_token must be an active client key of this "
            "proxy; a new one is taken up there by playbooks/client_keys.yml."
        )
    if status == 421:
        return f"{url} does not know itself by this name (HTTP 421): see litellm_gateway_server_names of the proxy."
    if 300 <= status < 400:
        return f"{url} redirects (HTTP {status}), most likely to https: put that address into litellm_client_url."
    served = _models(answer)
    if status != 200 or served is None:
        return (
            f"{url}/v1/models gives no list of models (HTTP {status}): is litellm_client_url the address of the proxy?"
        )
    wanted = {model.removesuffix("[1m]") for model in settings["litellm_client_models"].values()}
    missing = sorted(wanted - served)
    if missing:
        return (
            f"{url} does not serve {', '.join(missing)} to this token: correct litellm_client_models; it serves "
            f"{', '.join(sorted(served)) or 'nothing'}."
        )
    return ""


def _unreached(message: str, settings: Mapping[str, Any]) -> str:
    url, lower = settings["litellm_client_url"], message.lower()
    if "no such file" in lower or "ca_path" in lower:
        why = "litellm_client_ca_bundle is no file on this machine: put it there first, or correct the path"
    elif "wrong_version_number" in lower or "wrong version number" in lower:
        why = "it speaks no TLS there: use http, or the port of TLS"
    elif "certificate" in lower or "ssl" in lower:
        why = "its certificate is not trusted here, or is for another name: set litellm_client_ca_bundle to a PEM file"
    elif "timed out" in lower:
        why = "no answer in time: look for a firewall, or raise litellm_client_verify_timeout"
    elif "refused" in lower:
        why = "nothing listens there: start the proxy, or correct the port"
    elif "name or service not known" in lower or "resolution" in lower or "nodename" in lower:
        why = "the name is not known here: correct litellm_client_url, or the machine's DNS"
    else:
        why = "correct litellm_client_url, or the way there"
    return f"{url} cannot be reached from this machine: {why}."


def _models(answer: Mapping[str, Any]) -> set[str] | None:
    """The names in the answer's list, None where it is none."""
    try:
        content = answer.get("json") or json.loads(answer.get("content") or "")
        return {str(model["id"]) for model in content["data"]}
    except (ValueError, TypeError, KeyError):
        return None


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_client_refusal": refusal}
