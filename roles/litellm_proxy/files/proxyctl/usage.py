"""What was used in a period."""

import argparse
import socket
from datetime import datetime, timezone
from typing import Any

from litellm_proxy_usage import COUNTS, FIELDS, measure_of, period, sums, table

from proxyctl.exits import Exit, Failure
from proxyctl.ledger import KEPT, Ledger
from proxyctl.report import Report
from proxyctl.settings import Settings

OPTIONS = ("--from", "--to", "--days")
NO_LEDGER = (
    "There is no usage ledger at {path} yet: the proxy makes it with the first request of a client. If there were "
    "some, it was deployed before usage was counted (run site.yml), or could not write (its log has usage_not_saved)."
)


def usage(settings: Settings, report: Report, arguments: argparse.Namespace) -> Exit:
    """Requests, tokens and money of a period; the ledger alone is asked, so the service may be down.

    Args:
        settings: of the instance.
        report: where the sums go; as JSON, each row has the fields of `--by`, all of them without it.
        arguments: `begin`, `end`, `days` and `by`, as given.
    """
    today = datetime.now(timezone.utc).date().isoformat()
    meant = period(arguments.begin, arguments.end, arguments.days, today=today, names=OPTIONS)
    if meant["fault"]:
        raise Failure(Exit.USAGE, meant["fault"])
    by = _fields(arguments.by)
    ledger = Ledger(settings.usage_file)
    read = ledger.rows(meant["from"], meant["to"])
    host = socket.gethostname()
    rows = [{**row, "host": host} for row in read or []]
    document: dict[str, Any] = {"ok": True, "from": meant["from"], "to": meant["to"], "ledger": read is not None}
    if read is None:
        document["message"] = NO_LEDGER.format(path=settings.usage_file)
        report.say(document["message"])
    else:
        shown = by or ["client"]
        shares = "money" if measure_of(rows) == "cost" else "tokens"
        report.say(f"{meant['from']} to {meant['to']} (UTC), by {', '.join(shown)}; shares are of the {shares}")
        report.say(table(rows, shown))
    kept = (*(by or KEPT), *COUNTS, "cost")
    report.end({**document, "rows": [{name: row[name] for name in kept} for row in sums(rows, by or KEPT)]})
    return Exit.FINE


def _fields(text: str) -> list[str]:
    """The fields of `--by`, each once; Failure at one that there is not."""
    fields = list(dict.fromkeys(word.strip() for word in text.split(","))) if text else []
    for field in fields:
        if field not in FIELDS:
            raise Failure(Exit.USAGE, f"--by {field!r}: usage is summed by {', '.join(FIELDS)}.")
    return fields
