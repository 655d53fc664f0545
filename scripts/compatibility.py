"""Make docs/compatibility.md from what the scenario `clients` saw.

python scripts/compatibility.py --write RESULTS    write the page
python scripts/compatibility.py --check RESULTS    exit 1 when the page says something else, or a cell has no result

RESULTS is a JSON file: a list of {"client": …, "feature": …, "note": …,
"result": "works" | "differs" | "not offered" | "no function" | "fails"}, where everything but `works` has a note.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
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


FEATURES = {
    "text": "Question and answer",
    "stream": "Stream",
    "tools": "Tool call, and its result sent back",
    "tool_loop": "Several tool calls in a row",
    "forced_tool": "A tool that must be called",
    "json_output": "JSON output",
    "structured_output": "JSON output after a schema",
    "thinking": "Thinking",
    "images": "Images",
    "documents": "Documents",
    "models": "List of models",
    "names": "Model names: glm-…, claude-…, and Claude Code's sonnet, opus, haiku, glm-…[1m]",
    "count_tokens": "Count of tokens",
    "cache": "Counters of the prompt cache",
    "long_answer": "Long answer, without a limit where one may be left out",
    "limited_answer": "Limit of tokens",
    "new_limit": "The same as `max_completion_tokens`",
    "fields": "Fields beyond: n, seed, logprobs, penalties",
    "responses": "Responses API",
    "responses_memory": "Responses API, `previous_response_id`",
    "responses_stored": "Responses API, stored answers",
    "beta": "Beta headers",
    "server_tools": "Tools that the provider runs (web search)",
    "other_apis": "Embeddings, files, batches, audio, images, moderation",
    "interrupted": "Answer broken off by the client: its slot is free at once",
    "wrong_key": "Wrong key",
    "unknown_model": "Unknown model",
    "bad_request": "Request that is not well-formed",
    "saturated": "No slot within the time to wait",
    "tls": "All of it over TLS, with a certificate authority of one's own",
    "trouble": "A key revoked, one without quota, and all rotated meanwhile: nothing is noticed",
}
"""The rows."""

INTRODUCTION = """\
Made from the results of the Molecule scenario `clients`, in which these programs speak to a proxy in `systemd` mode
behind its gateway, in front of the simulated Z.AI; do not edit it by hand. *Differs* and *not offered* are measured
against the API of OpenAI or Anthropic that the client was made for; *no function*: the client has no way to ask for it.
Each cell has a test; the numbers lead to the notes below."""

Results = Mapping[tuple[str, str], Mapping[str, str]]


def load(path: Path) -> Results:
    """Read the results, by client and feature.

    Raises:
        ValueError: a cell has no result, or two; or one is for a cell that the page has not.
    """
    wanted = {(client, name) for name in FEATURES for client in CLIENTS}
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
    for name, title in FEATURES.items():
        cells = [_cell(results[client, name], notes) for client in CLIENTS]
        rows.append(f"| {title} | {' | '.join(cells)} |")
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


def _cell(entry: Mapping[str, str], notes: dict[str, int]) -> str:
    if not entry.get("note"):
        return entry["result"]
    number = notes.setdefault(entry["note"], len(notes) + 1)
    return f"{entry['result']} ({number})"


if __name__ == "__main__":
    sys.exit(main())
