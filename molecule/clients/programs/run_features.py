"""How a program tries features of a client: each by itself, and what it saw of each as one JSON object."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Feature = Callable[[], Any]


def error_seen(error: Exception) -> dict[str, Any]:
    """What a user can tell of an error: its class, HTTP status, text and when to come back."""
    response = getattr(error, "response", None)
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "text": str(error),
        "retry_after": response.headers.get("retry-after") if response is not None else None,
    }


def attempt(feature: Feature) -> Any:
    """What a feature gives, or the error that its user sees."""
    try:
        return feature()
    # whatever a client raises is what its user sees
    except Exception as error:
        return error_seen(error)


def repeat(features: Mapping[str, Feature], begun: Path, end: Path) -> dict[str, Any]:
    """Try some features in turns until the file `end` is there; `begun` is made after the first round."""
    rounds, failures = 0, []
    while not end.exists():
        for name in ("text", "stream", "tools"):
            found = attempt(features[name])
            if isinstance(found, dict):
                failures.append({"feature": name, "at": time.time(), **found})
        rounds += 1
        begun.touch()
        # leaves the machine to the others
        time.sleep(0.2)
    return {"rounds": rounds, "failures": failures}


def run(features: Mapping[str, Feature]) -> None:
    """Print what features gave: those named on the command line, all, or those of `--repeat BEGUN END`."""
    if sys.argv[1:2] == ["--repeat"]:
        print(json.dumps(repeat(features, Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    print(json.dumps({name: attempt(features[name]) for name in sys.argv[1:] or features}))
