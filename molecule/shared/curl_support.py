"""The calls of programs/curl.sh, as curl's user sees them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    """Run the named calls, all of them where none is."""
    done = workstation.run(" ".join(["bash", f"{PROGRAMS}/curl.sh", *names]), "curl", 90)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[Call]] = {}
    for line in done.stdout.splitlines():
        name, status, retry_after, body = line.split("\t", 3)
        found.setdefault(name, []).append(Call(int(status), retry_after, body.replace("~", "\n")))
    return found


def statuses(answers: Sequence[Call]) -> list[int]:
    """The HTTP statuses."""
    return [answer.status for answer in answers]
