"""Filters that make one report of what `litellm-proxyctl usage --json` answered on several hosts."""

import csv
import errno
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

NAMES = ("day", "client", "key", "pool", "model")
COUNTS = ("requests", "failed", "input", "cached", "output")
LONGEST_REASON = 300
NOT_INSTALLED = "litellm-proxyctl is not there: deploy the host by site.yml"
TOO_OLD = "its litellm-proxyctl does not know usage yet: run site.yml"
NO_LEDGER = "has no ledger yet: no client sent a request since usage is counted"

Answer = Mapping[str, Any]


class NoReport(Exception):
    """A host gave none; the message says why."""


def report(
    answers: Mapping[str, Answer], period: Mapping[str, str], hosts: Sequence[str], asked: Collection[str]
) -> dict[str, Any]:
    """The rows of all hosts, and which hosts they are of.

    Args:
        answers: what the command's task registered, by host.
        period: `from` and `to`.
        hosts: all that there are.
        asked: those in the play; the others were left out by whoever ran it.

    Returns:
        `from`, `to`, `rows` (with `host`), `hosts` that count, `notes` by host on those, `missing` hosts with the
        reason, and `whole`: whether none is missing.
    """
    rows: list[dict[str, Any]] = []
    counted, notes, missing = [], {}, {}
    for host in hosts:
        try:
            if host not in asked:
                raise NoReport("was left out of this run (--limit)")
            if host not in answers:
                raise NoReport("failed before it was asked, see the tasks above")
            document = _document(answers[host], period)
            rows += [{**_row(row), "host": host} for row in document["rows"]]
        except NoReport as reason:
            missing[host] = str(reason)
            continue
        counted.append(host)
        if not document.get("ledger", True):
            notes[host] = NO_LEDGER
    return {
        "from": period["from"],
        "to": period["to"],
        "rows": rows,
        "hosts": counted,
        "notes": notes,
        "missing": missing,
        "whole": not missing,
    }


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line a day, client, key, pool and model, summed over the hosts; money in USD."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(tuple(row[name] for name in NAMES), {**dict.fromkeys(COUNTS, 0), "cost": 0.0})
        for name in (*COUNTS, "cost"):
            line[name] += row[name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*NAMES, *COUNTS, "cost"])
    for names, line in sorted(found.items()):
        writer.writerow([*names, *(line[name] for name in COUNTS), f"{line['cost']:.6f}"])
    return text.getvalue()


def _document(answer: Answer, period: Mapping[str, str]) -> dict[str, Any]:
    """What the command printed; NoReport where it did not."""
    if answer.get("unreachable"):
        raise NoReport(f"cannot be reached: {_reason(answer.get('msg'))}")
    try:
        document = json.loads(answer.get("stdout") or "")
    except ValueError:
        raise NoReport(_without_document(answer)) from None
    if not isinstance(document, dict) or not document.get("ok") or not isinstance(document.get("rows"), list):
        said = document.get("message") if isinstance(document, dict) else ""
        raise NoReport(_reason(said or "litellm-proxyctl usage gave no rows"))
    if (document.get("from"), document.get("to")) != (period["from"], period["to"]):
        raise NoReport(f"answered for {document.get('from')} to {document.get('to')}")
    return document


def _without_document(answer: Answer) -> str:
    said = f"{answer.get('stderr') or ''} {answer.get('msg') or ''}"
    if "invalid choice: 'usage'" in said:
        return TOO_OLD
    # the errno of what could not be run, for which older versions of Ansible have words
    if answer.get("rc") == errno.ENOENT and ("Error executing" in said or "No such file" in said):
        return NOT_INSTALLED
    return _reason(answer.get("stderr") or answer.get("msg") or "litellm-proxyctl usage printed nothing")


def _row(row: Any) -> dict[str, Any]:
    try:
        names = {name: str(row[name]) for name in NAMES}
        return {**names, **{name: int(row[name]) for name in COUNTS}, "cost": float(row["cost"])}
    except (KeyError, TypeError, ValueError):
        raise NoReport("answered with rows that are none of the ledger's") from None


def _reason(text: object) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    line = line.removeprefix("Task failed: ").rstrip(".")
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_usage_report": report, "litellm_proxy_usage_csv": as_csv}
