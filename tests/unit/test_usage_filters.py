"""What playbooks/usage.yml makes of the hosts' answers: period, sums, tables, CSV."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import pytest
from litellm_proxy_usage import days_of, period, sums, table, total
from litellm_proxy_usage_charts import bar, stacked
from litellm_proxy_usage_report import NO_LEDGER, NOT_INSTALLED, TOO_OLD, as_csv, report
from usage_ledger import Used

PERIOD = {"from": "2026-11-01", "to": "2026-11-30"}
ROWS = [
    Used("2026-11-01", client="alice", cost=1.5).row(),
    Used("2026-11-02", client="bob", key="team-b", cost=0.25, failed=1).row(),
    Used("2026-11-02", client="alice", key="team-b", cost=0.25).row(),
]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("", "", ""), ("2026-11-01", "2026-11-30")),
        (("2026-10-05", "", ""), ("2026-10-05", "2026-11-30")),
        (("", "2026-02-05", ""), ("2026-02-01", "2026-02-05")),
        (("2027-02-01", "", ""), ("2027-02-01", "2027-02-28")),
        (("", "", "7"), ("2026-11-17", "2026-11-23")),
        (("", "", 1), ("2026-11-23", "2026-11-23")),
        (("2026-11-23", "2026-11-23", None), ("2026-11-23", "2026-11-23")),
        (("2028-02-29", "2028-12-31", ""), ("2028-02-29", "2028-12-31")),
    ],
)
def test_period(given: tuple[Any, Any, Any], meant: tuple[str, str]) -> None:
    assert period(*given, today="2026-11-23") == {"from": meant[0], "to": meant[1], "fault": ""}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("2026-02-30", "", ""), "from '2026-02-30' is no day"),
        (("20261101", "", ""), "from '20261101' is no day"),
        (("", "9999-12-31", ""), "to '9999-12-31' is no day"),
        (("2026-11-02", "2026-11-01", ""), "from 2026-11-02 is after to 2026-11-01"),
        (("2001-01-01", "", ""), "is longer than 3660 days"),
        (("", "", "-1"), "days '-1' is no number of days, 1 to 3660"),
        (("", "", "3661"), "days '3661' is no number of days"),
        (("2026-11-01", "", "7"), "days goes with neither from nor to"),
    ],
)
def test_period_that_is_none(given: tuple[str, str, str], told: str) -> None:
    assert told in period(*given, today="2026-11-23")["fault"]


def test_days_of_a_period() -> None:
    assert days_of("2028-02-28", "2028-03-01") == ["2028-02-28", "2028-02-29", "2028-03-01"]


def test_sums_have_what_cost_most_first() -> None:
    assert [(row["client"], row["cost"], row["share"]) for row in sums(ROWS, ["client"])] == [
        ("alice", 1.75, 0.875),
        ("bob", 0.25, 0.125),
    ]
    assert [row["day"] for row in sums(ROWS, ["day"])] == ["2026-11-01", "2026-11-02"]


def test_shares_are_of_the_tokens_where_nothing_cost_any() -> None:
    free = [{**row, "cost": 0.0} for row in ROWS]
    assert [row["share"] for row in sums(free, ["client"])] == pytest.approx([2 / 3, 1 / 3])
    assert table(free, ["client"]).splitlines()[0].endswith("OF TOKENS")


def test_small_change_is_not_lost() -> None:
    coins = [Used("2026-11-01", cost=0.1).row()] * 10
    assert total(coins)["cost"] == 1.0
    assert table([{**coins[0], "cost": 0.0004}], ["key"]).splitlines()[1].split()[-2] == "0.000400"
    assert table([{**coins[0], "cost": 0.5}], ["key"]).splitlines()[1].split()[-2] == "0.5000"
    assert table([{**coins[0], "cost": 1234.5}], ["key"]).splitlines()[1].split()[-2] == "1,234.50"


# Answers of hosts -----------------------------------------------------------------


def answer(rows: list[dict[str, Any]], **changes: object) -> dict[str, Any]:
    return {"rc": 0, "stdout": json.dumps({"ok": True, **PERIOD, "ledger": True, "rows": rows, **changes})}


def test_hosts_are_added_up() -> None:
    found = report({"h1": answer(ROWS), "h2": answer(ROWS[:1])}, PERIOD, ["h1", "h2"], ["h1", "h2"])
    assert (found["hosts"], found["missing"], found["notes"], found["whole"]) == (["h1", "h2"], {}, {}, True)
    assert total(found["rows"])["requests"] == 4
    assert {row["host"]: row["requests"] for row in sums(found["rows"], ["host"])} == {"h1": 3, "h2": 1}


def test_host_without_a_ledger_counts_with_a_note() -> None:
    found = report({"h1": answer([], ledger=False)}, PERIOD, ["h1"], ["h1"])
    assert (found["hosts"], found["notes"], found["whole"]) == (["h1"], {"h1": NO_LEDGER}, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"unreachable": True, "msg": "Task failed: No route."}, "cannot be reached: No route"),
        ({"rc": 2, "msg": "Error executing command.", "stdout": ""}, NOT_INSTALLED),
        ({"rc": 2, "stderr": "litellm-proxyctl: error: invalid choice: 'usage' (choose from …)"}, TOO_OLD),
        ({"rc": 1, "stdout": '{"ok": false, "message": "it is\\ndamaged"}'}, "it is damaged"),
        ({"rc": 0, "stdout": "[]"}, "gave no rows"),
        ({"failed": True, "msg": "Missing sudo password"}, "Missing sudo password"),
        (answer([{"day": "2026-11-01"}]), "rows that are none of the ledger's"),
        (answer(ROWS, to="2026-11-29"), "answered for 2026-11-01 to 2026-11-29"),
        ({}, "printed nothing"),
        (None, "failed before it was asked"),
    ],
)
def test_host_that_does_not_count_is_named(given: Mapping[str, Any] | None, told: str) -> None:
    answers = {"h1": answer(ROWS), **({} if given is None else {"h2": given})}
    found = report(answers, PERIOD, ["h1", "h2"], ["h1", "h2"])
    assert told in found["missing"]["h2"]
    assert (found["hosts"], found["whole"], len(found["rows"])) == (["h1"], False, len(ROWS))


def test_report_over_chosen_hosts_is_not_whole() -> None:
    found = report({"h1": answer(ROWS)}, PERIOD, ["h1", "h2"], ["h1"])
    assert (found["missing"], found["whole"]) == ({"h2": "was left out of this run (--limit)"}, False)


def test_csv_is_the_sum_of_the_hosts() -> None:
    found = report({"h1": answer(ROWS), "h2": answer(ROWS[:1])}, PERIOD, ["h1", "h2"], ["h1", "h2"])
    lines = list(csv.DictReader(io.StringIO(as_csv(found["rows"]))))
    assert [(line["day"], line["client"], line["key"], line["requests"], line["cost"]) for line in lines] == [
        ("2026-11-01", "alice", "team-a", "2", "3.000000"),
        ("2026-11-02", "alice", "team-b", "1", "0.250000"),
        ("2026-11-02", "bob", "team-b", "1", "0.250000"),
    ]
    assert as_csv([]) == "day,client,key,pool,model,requests,failed,input,cached,output,cost\n"


# Charts ---------------------------------------------------------------------------


def parts(svg: str) -> list[ElementTree.Element]:
    return [shape for shape in ElementTree.fromstring(svg) if shape.get("class", "").startswith("part")]  # noqa: S314


def test_bar_of_a_day_is_stacked() -> None:
    found = parts(stacked(ROWS, ["2026-11-01", "2026-11-02", "2026-11-03"], "cost", ["alice", "bob"]))
    assert [shape.get("class") for shape in found] == ["part c0", "part c0", "part c1"]
    assert [float(shape.get("height", 0)) for shape in found] == [200.0, 33.33, 33.33]
    lower, upper = found[1:]
    assert float(lower.get("y", 0)) == pytest.approx(float(upper.get("y", 0)) + 33.33, abs=0.02)
    assert found[0][0].text == "2026-11-01, alice: 1.5000 USD"


def test_clients_without_a_colour_are_one_part() -> None:
    rows = [Used("2026-11-01", client=f"c{number}").row() for number in range(40)]
    found = parts(stacked(rows, ["2026-11-01"], "requests", [f"c{number}" for number in range(8)]))
    assert len(found) == 9
    assert (found[-1].get("class"), found[-1][0].text) == ("part rest", "2026-11-01, others: 32 requests")


def test_chart_of_nothing_says_so() -> None:
    assert "none in this period" in stacked([], ["2026-11-01"], "cost", [])


@pytest.mark.parametrize(
    ("measure", "most"),
    [
        *(("cost", most) for most in (0.00001, 0.3, 1, 7, 99.5, 1234, 123_456_789)),
        *(("requests", most) for most in (1, 2, 7, 99, 1234, 5_000_000, 123_456_789)),
    ],
)
def test_axis_holds_every_bar(measure: str, most: float) -> None:
    rows = [{**ROWS[0], measure: most}]
    svg = stacked(rows, ["2026-11-01"], measure, ["alice"])
    (part,) = parts(svg)
    assert 14 <= float(part.get("y", 0)) < 214
    ticks = [shape.text for shape in ElementTree.fromstring(svg) if shape.get("class") == "tick"]  # noqa: S314
    assert 2 <= len(ticks) <= 7
    assert len(set(ticks)) == len(ticks)


def test_names_are_no_markup() -> None:
    rows = [Used("2026-11-01", client="<script>&\x07").row()]
    (part,) = parts(stacked(rows, ["2026-11-01"], "requests", ["<script>&\x07"]))
    assert part[0].text == "2026-11-01, <script>&: 1 requests"


def test_bar_is_as_long_as_its_part() -> None:
    assert 'class="c1" width="50.00"' in bar(2, 4, 1)
    assert 'class="plain" width="0.40"' in bar(1, 4000)
    assert 'class="rest"' in bar(1, 1, 8)
    assert "<rect" not in bar(0, 0)
