"""Output: aligned columns for people, JSON for scripts."""

import json
import sys
from collections.abc import Sequence
from typing import Any


class Report:
    """Where a command writes.

    Args:
        as_json: one document at the end instead of lines.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, line: str) -> None:
        """A line for people, at once."""
        if not self.as_json:
            print(line, flush=True)

    def end(self, document: dict[str, Any]) -> None:
        """The document of a command."""
        if self.as_json:
            print(json.dumps(document, indent=2), flush=True)

    def fail(self, code: int, message: str) -> None:
        """Why a command failed."""
        if self.as_json:
            self.end({"ok": False, "exit_code": code, "message": message})
        else:
            print(f"litellm-proxyctl: {message}", file=sys.stderr)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells side by side, two blanks between them."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
