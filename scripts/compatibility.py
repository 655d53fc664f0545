"""Make docs/compatibility.md from what the scenario `clients` saw.

python scripts/compatibility.py --write RESULTS    write the page
python scripts/compatibility.py --check RESULTS    exit 1 when the page says something else, or a cell has no result

RESULTS is a JSON file: a list of {"client": …, "feature": …, "result": "works" | "differs" | "not offered" | "fails",
"note": …}, where everything but `works` has a note.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/compatibility.md"
PROGRAMS = "molecule/clients/programs"

CLIENTS = {
    "openai-python": "OpenAI SDK, Python",
    "openai-typescript": "OpenAI SDK, TypeScript",
    "anthropic-python": "Anthropic SDK, Python",
    "claude-code": "Claude Code",
    "codex": "Codex CLI",
    "curl": "curl",
}
"""The columns."""


@dataclass(frozen=True)
class Feature:
    """A row.

    Attributes:
        title: what the page calls it.
        lacks: clients that have no such function of their own.
    """

    title: str
    lacks: tuple[str, ...] = ()


ANTHROPIC = ("anthropic-python", "claude-code")
TERMINAL = ("claude-code", "codex")

FEATURES = {
    "text": Feature("Question and answer"),
    "stream": Feature("Stream"),
    "tools": Feature("Tool call, and its result sent back"),
    "tool_loop": Feature(
        "Several tool calls in a row", ("openai-python", "openai-typescript", "anthropic-python", "curl")
    ),
    "forced_tool": Feature("A tool that must be called", (*TERMINAL, "curl")),
    "json_output": Feature("JSON output", (*ANTHROPIC, "codex", "curl")),
    "structured_output": Feature("JSON output after a schema", ("claude-code", "curl")),
    "thinking": Feature("Thinking", ("curl",)),
    "images": Feature("Images", ("curl",)),
    "documents": Feature("Documents", ("openai-python", "openai-typescript", *TERMINAL, "curl")),
    "models": Feature("List of models", TERMINAL),
    "names": Feature(
        "Model names: sonnet, opus, haiku, claude-…, glm-…, glm-…[1m]",
        ("openai-python", "openai-typescript", "anthropic-python", "codex", "curl"),
    ),
    "count_tokens": Feature("Count of tokens", ("openai-python", "openai-typescript", *TERMINAL)),
    "cache": Feature("Counters of the prompt cache", ("curl",)),
    "long_answer": Feature("Long answer, without a limit where one may be left out", ("curl",)),
    "limited_answer": Feature("Limit of tokens", (*TERMINAL, "curl")),
    "new_limit": Feature("The same as `max_completion_tokens`", (*ANTHROPIC, "codex", "curl")),
    "fields": Feature("Fields beyond: n, seed, logprobs, penalties", (*ANTHROPIC, "codex", "curl")),
    "responses": Feature("Responses API", (*ANTHROPIC, "curl")),
    "responses_memory": Feature("Responses API, `previous_response_id`", (*ANTHROPIC, "codex", "curl")),
    "responses_stored": Feature("Responses API, stored answers", (*ANTHROPIC, "codex", "curl")),
    "beta": Feature("Beta headers", ("openai-python", "openai-typescript", "codex", "curl")),
    "server_tools": Feature(
        "Tools that the provider runs (web search)", ("openai-python", "openai-typescript", *TERMINAL, "curl")
    ),
    "other_apis": Feature("Embeddings, files, batches, audio, images, moderation", TERMINAL),
    "interrupted": Feature("Answer broken off by the client: its slot is free at once"),
    "wrong_key": Feature("Wrong key"),
    "unknown_model": Feature("Unknown model"),
    "bad_request": Feature("Request that is not well-formed", (*TERMINAL, "curl")),
    "saturated": Feature("No slot within the time to wait"),
    "tls": Feature("All of it over TLS, with a certificate authority of one's own"),
    "trouble": Feature("A key revoked, one without quota, and all rotated meanwhile: nothing is noticed"),
}
"""The rows."""

INTRODUCTION = """\
Made from the results of the Molecule scenario `clients`, in which these programs speak to a proxy in `systemd` mode
behind its gateway, in front of the simulated Z.AI; do not edit it by hand. *Differs* and *not offered* are measured
against the API of OpenAI or Anthropic that the client was made for; the numbers lead to the notes below. An empty cell:
the client has no such function of its own."""

Results = Mapping[tuple[str, str], Mapping[str, str]]


def load(path: Path) -> Results:
    """Read the results, by client and feature.

    Raises:
        ValueError: a cell has no result, or two; or one is for a cell that the page has not.
    """
    wanted = {(client, name) for name, row in FEATURES.items() for client in CLIENTS if client not in row.lacks}
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for entry in json.loads(path.read_text()):
        cell = (entry["client"], entry["feature"])
        if cell in found:
            raise ValueError(f"two results for {cell}")
        found[cell] = entry
    if missing := sorted(wanted - found.keys()):
        raise ValueError(f"no result for {missing}")
    if unknown := sorted(found.keys() - wanted):
        raise ValueError(f"results for cells that the page has not: {unknown}")
    return found


def versions(root: Path) -> dict[str, str]:
    """The pinned version of each client that has one."""
    npm = json.loads((root / PROGRAMS / "package.json").read_text())["dependencies"]
    python = dict(re.findall(r"(?m)^([\w-]+)==(\S+)$", (root / PROGRAMS / "requirements.in").read_text()))
    return {
        "openai-python": python["openai"],
        "openai-typescript": npm["openai"],
        "anthropic-python": python["anthropic"],
        "claude-code": npm["@anthropic-ai/claude-code"],
        "codex": npm["@openai/codex"],
    }


def page(results: Results, released: Mapping[str, str]) -> str:
    """Render the page."""
    notes: dict[str, int] = {}
    rows = []
    for name, row in FEATURES.items():
        cells = [_cell(results.get((client, name)), notes) for client in CLIENTS]
        rows.append(f"| {row.title} | {' | '.join(cells)} |")
    heads = " | ".join(f"{title} {released.get(client, '')}".strip() for client, title in CLIENTS.items())
    return "\n".join(
        [
            "# What works with which client",
            "",
            INTRODUCTION,
            "",
            f"| | {heads} |",
            "|---" * (len(CLIENTS) + 1) + "|",
            *rows,
            "",
            "Notes:",
            "",
            *(f"{number}. {note[:1].upper()}{note[1:]}." for note, number in notes.items()),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="RESULTS", help=f"write {PAGE}")
    action.add_argument("--check", type=Path, metavar="RESULTS", help=f"exit 1 when {PAGE} differs")
    arguments = parser.parse_args(argv)
    try:
        wanted = page(load(arguments.write or arguments.check), versions(root))
    except (OSError, ValueError) as error:
        print(f"{PAGE}: {error}", file=sys.stderr)
        return 1
    file = root / PAGE
    if arguments.write:
        file.write_text(wanted)
    elif not file.exists() or file.read_text() != wanted:
        print(
            f"{PAGE} is not what the results in {arguments.check} say; "
            f"run: .venv/bin/python scripts/compatibility.py --write {arguments.check}",
            file=sys.stderr,
        )
        return 1
    return 0


def _cell(entry: Mapping[str, str] | None, notes: dict[str, int]) -> str:
    if entry is None:
        return ""
    if not entry.get("note"):
        return entry["result"]
    number = notes.setdefault(entry["note"], len(notes) + 1)
    return f"{entry['result']} ({number})"


if __name__ == "__main__":
    sys.exit(main())
