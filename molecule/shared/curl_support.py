"""The calls of programs/curl.sh and their answers, as curl's user sees them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curl_cases import requests
from workstation_support import PROGRAMS, Workstation


@dataclass(frozen=True)
class Call:
    """One answer.

    Attributes:
        status: of HTTP; 0 where there was none.
        retry_after: the header, empty where there is none.
        body: as text.
    """

    status: int
    retry_after: str
    body: str

    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    def events(self) -> list[dict[str, Any]]:
        """The data of each event of a stream."""
        lines = [line.removeprefix("data: ") for line in self.body.split("\n") if line.startswith("data: {")]
        return [json.loads(line) for line in lines]


def calls(workstation: Workstation, *names: str) -> dict[str, list[Call]]:
    """Make the calls of the named features, of all where none is named."""
    asked = requests()
    lines = []
    for name in names or asked:
        for request in asked[name]:
            body = json.dumps(request.body) if request.body is not None else ""
            fields = (name, str(request.seconds), request.path, request.header, request.second, body)
            lines.append("\x1f".join(fields))
    script = "\n".join([f"bash {PROGRAMS}/curl.sh <<'CALLS'", *lines, "CALLS"])
    done = workstation.run(script, "curl", 90)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[Call]] = {}
    for line in done.stdout.splitlines():
        name, status, retry_after, body = line.split("\t", 3)
        found.setdefault(name, []).append(Call(int(status), retry_after, body.replace("~", "\n")))
    return found


def statuses(answers: Sequence[Call]) -> list[int]:
    """The HTTP statuses."""
    return [answer.status for answer in answers]
