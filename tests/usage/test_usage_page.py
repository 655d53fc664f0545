"""The page of playbooks/usage.yml in a browser without a network, and its numbers beside those in the ledgers."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from jinja2 import Environment, FileSystemLoader
from litellm_proxy_usage import FilterModule as Sums
from litellm_proxy_usage_charts import FilterModule as Charts
from page_numbers import COUNTS, READ_TABLES, numbers
from role_settings import ROLE
from usage_hosts import absent, install, report, unreachable
from usage_ledger import Used

NOVEMBER = ("-e", "usage_from=2026-11-01", "-e", "usage_to=2026-11-30")
HOST_1 = [
    Used("2026-10-31 23:00", requests=9999),
    Used("2026-11-01 00:00", "alice", "team-a", requests=120, failed=3, input=1_200_000, cached=9, output=5, cost=12.5),
    Used("2026-11-02 07:00", "bob", "team-b", "flash", "glm-5.3-flash", 40, 0, 7000, 0, 300, 0.25),
    Used("2026-11-02 08:00", "master", "", "", "", 1, 1, 0, 0, 0, 0.0),
]
HOST_2 = [
    Used("2026-11-01 05:00", "alice", "team-a", requests=80, failed=0, input=800_000, cached=1, output=5, cost=7.5),
    Used("2026-11-30 23:00", "carol", "team-b", requests=9, failed=2, input=500, cached=400, output=300, cost=2.0),
    Used("2026-12-01 00:00", requests=9999),
]
COUNTED = [*HOST_1[1:], *HOST_2[:2]]

READ_TOTAL = """
Object.fromEntries([...document.querySelectorAll('#total [data-of]')].map(cell => [cell.dataset.of, cell.textContent]))
"""
# what is seen: shapes without a size, text that is cut or lies outside of what holds it, what makes the page too wide
READ_FAULTS = """
(() => {
  const faults = [], page = document.documentElement, box = one => one.getBoundingClientRect();
  if (page.scrollWidth > innerWidth) faults.push(`page ${page.scrollWidth} wide in ${innerWidth}`);
  for (const one of document.querySelectorAll('section, .tile, .notice, svg, h1, h2, tbody tr')) {
    if (one.closest('details:not([open])')) continue;
    if (!(box(one).width > 0 && box(one).height > 0)) faults.push(`${one.tagName} ${one.className} has no size`);
  }
  for (const chart of document.querySelectorAll('svg.chart')) {
    const outer = box(chart);
    for (const one of chart.querySelectorAll('rect, text')) {
      const inner = box(one);
      if (!(inner.width > 0 && inner.height > 0)) faults.push(`${one.textContent} has no size`);
      if (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1
          || inner.bottom > outer.bottom + 1) faults.push(`${one.textContent} is outside of its chart`);
    }
    const labels = [...chart.querySelectorAll('.day')].map(box);
    labels.slice(1).forEach((label, number) => {
      if (label.left < labels[number].right) faults.push('labels of days overlap');
    });
  }
  for (const one of document.querySelectorAll('.tile, section, .notice')) {
    if (one.scrollWidth > one.clientWidth + 1) faults.push(`${one.id || one.className} is too narrow for its content`);
  }
  return faults;
})()
"""


def look(browser: Browser, page: Path) -> None:
    """The page is shown whole, in every width and scheme, asks for nothing and complains of nothing."""
    for width, scheme in ((1280, "light"), (1280, "dark"), (420, "light")):
        browser.open(page, width, scheme)
        assert browser.ask(READ_FAULTS) == [], (width, scheme)
        assert browser.complaints == []
        assert [address for address in browser.requests if address not in (page.as_uri(), "data:,")] == []
        picture = browser.screenshot(page.with_name(f"{page.stem}-{scheme}-{width}.png"))
        assert picture.stat().st_size > 10_000


def draw(directory: Path, used: Sequence[Used], days: tuple[str, str], **changes: Any) -> Path:
    """The page for these rows, as the playbook's template makes it."""
    rows = [{**row.row(), "host": "proxy-1"} for row in used]
    usage = {
        "from": days[0],
        "to": days[1],
        "rows": rows,
        "hosts": ["proxy-1"],
        "notes": {},
        "missing": {},
        "whole": True,
    }
    templates = Environment(loader=FileSystemLoader(ROLE / "templates"), trim_blocks=True, autoescape=False)  # noqa: S701
    templates.filters |= {**Sums().filters(), **Charts().filters()}
    page = directory / "usage.html"
    page.write_text(
        templates.get_template("usage/usage.html.j2").render(
            __litellm_proxy_usage={**usage, **changes}, __litellm_proxy_usage_made="2026-11-23 12:00"
        )
    )
    return page


def expected(used: Sequence[Used], field: str) -> dict[str, dict[str, float]]:
    """Sums by one field, and the total, added here by themselves."""
    found: dict[str, dict[str, float]] = {}
    for row in (one.row() for one in used):
        for name in (str(row[field]) or "(none)", "total"):
            line = found.setdefault(name, dict.fromkeys((*COUNTS, "cost"), 0.0))
            for count in line:
                line[count] += row[count]
    return found


def test_numbers_are_those_of_the_ledgers(browser: Browser, tmp_path: Path) -> None:
    hosts = {"proxy-1": install(tmp_path / "1", HOST_1), "proxy-2": install(tmp_path / "2", HOST_2)}
    code, output = report(tmp_path, hosts, *NOVEMBER)
    assert code == 0, output
    assert output.count("changed=0") == 2
    stem = tmp_path / "report" / "usage-2026-11-01_2026-11-30"
    page = stem.with_suffix(".html")
    look(browser, page)
    tables = browser.ask(READ_TABLES)
    for field in ("client", "key", "pool", "model"):
        shown = {name: numbers(cells) for name, cells in tables[f"by-{field}"].items()}
        assert shown == expected(COUNTED, field), field
        # the same as the play prints
        if field != "model":
            for name, line in shown.items():
                words = [name, *(f"{line[count]:,.0f}" for count in COUNTS), f"{line['cost']:,.2f}"]
                assert " ".join(words) in " ".join(output.split()), words
    assert tables["by-client"]["alice"]["share"] == "89.9%"
    by_day = {name: numbers(cells) for name, cells in tables["by-day"].items()}
    assert by_day == {name: line for name, line in expected(COUNTED, "day").items() if name != "total"}
    total = browser.ask(READ_TOTAL)
    whole = expected(COUNTED, "day")["total"]
    assert numbers(total) == {name: whole[name] for name in ("cost", "requests", "failed")}
    assert float(total["tokens"].replace(",", "")) == whole["input"] + whole["cached"] + whole["output"]
    assert total["clients"] == "4"
    lines = list(csv.DictReader(io.StringIO(stem.with_suffix(".csv").read_text())))
    assert len(lines) == 4
    for count in (*COUNTS, "cost"):
        assert sum(float(line[count]) for line in lines) == whole[count]
    assert {line["day"] for line in lines} == {"2026-11-01", "2026-11-02", "2026-11-30"}


def test_parts_of_a_chart_are_as_high_as_their_numbers(browser: Browser, tmp_path: Path) -> None:
    page = draw(tmp_path, COUNTED, ("2026-11-01", "2026-11-30"))
    look(browser, page)
    parts = browser.ask("""[...document.querySelectorAll('#daily-requests .part')].map(part =>
      [part.querySelector('title').textContent, part.getBoundingClientRect().height])""")
    heights = dict(parts)
    assert set(heights) == {
        "2026-11-01, alice: 200 requests", "2026-11-02, bob: 40 requests", "2026-11-02, master: 1 requests",
        "2026-11-30, carol: 9 requests",
    }  # fmt: skip
    one = heights["2026-11-02, master: 1 requests"]
    assert heights["2026-11-01, alice: 200 requests"] == pytest.approx(200 * one, rel=0.02)


def test_report_over_a_part_says_so(browser: Browser, tmp_path: Path) -> None:
    hosts = {
        "proxy-0": unreachable(),
        "proxy-1": install(tmp_path / "1", HOST_1),
        "proxy-2": absent(tmp_path / "nowhere"),
        "proxy-3": install(tmp_path / "3", None),
        "proxy-4": install(tmp_path / "4", HOST_2),
    }
    code, output = report(tmp_path, hosts, *NOVEMBER, "--limit", "!proxy-4")
    words = " ".join(output.split())
    assert code != 0
    assert "PARTIAL: proxy-0 is not counted: cannot be reached" in words
    assert "PARTIAL: proxy-2 is not counted: litellm-proxyctl is not there: deploy the host by site.yml" in words
    assert "PARTIAL: proxy-4 is not counted: was left out of this run (--limit)" in words
    assert "proxy-3 has no ledger yet" in words
    assert "total 161 4" in words
    page = tmp_path / "report" / "usage-2026-11-01_2026-11-30-partial.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [f"{page.stem}.csv", page.name]
    look(browser, page)
    assert browser.ask("document.title").endswith("(partial)")
    notice = browser.ask("document.querySelector('#missing').innerText")
    assert "the real usage is higher" in notice
    assert [name for name in hosts if name in notice] == ["proxy-0", "proxy-2", "proxy-4"]
    assert "proxy-3" in browser.ask("document.querySelector('#notes').innerText")


def test_check_mode_prints_and_writes_nothing(tmp_path: Path) -> None:
    code, output = report(tmp_path, {"proxy-1": install(tmp_path / "1", HOST_1)}, *NOVEMBER, "--check", "--diff")
    assert code == 0, output
    assert "total 161 4" in " ".join(output.split())
    assert not (tmp_path / "report").exists()


def test_wrong_period_is_refused_before_a_host_is_asked(tmp_path: Path) -> None:
    code, output = report(tmp_path, {"proxy-1": unreachable()}, "-e", "usage_from=2026-11-31")
    assert code != 0
    assert "usage_from '2026-11-31' is no day: write it as 2026-11-30." in output
    assert "Ask what was used" not in output


LONG = "a-client-whose-name-is-as-long-as-names-of-clients-may-ever-be-x"
LONG_POOL = "Pool/" + "with-no-end:" * 20


@pytest.mark.parametrize(
    ("used", "days"),
    [
        ([], ("2026-11-01", "2026-11-30")),
        ([Used("2026-11-05", requests=1, input=0, cached=0, output=0, failed=1, cost=0)], ("2026-11-05", "2026-11-05")),
        ([Used("2026-11-05", cost=0.00001)], ("2026-11-01", "2026-11-30")),
        (
            [
                Used(
                    f"2026-10-{day:02}", f"client-{number:02}", f"key-{number % 12}", requests=number * day, cost=number
                )
                for number in range(1, 41)
                for day in range(1, 32)
            ],
            ("2026-10-01", "2026-10-31"),
        ),
        (
            [Used("2026-11-05", LONG, LONG, LONG_POOL, LONG_POOL, 10**12, 10**11, 10**15, 10**15, 10**15, 1e9)] * 2,
            ("2026-11-04", "2026-11-05"),
        ),
        ([Used("2026-01-01"), Used("2026-06-30", "bob")], ("2025-12-01", "2026-12-31")),
    ],
    ids=["nothing", "one day without tokens", "tiny", "40 clients and 31 days", "long", "a year"],
)
def test_extreme_data_is_legible(browser: Browser, tmp_path: Path, used: Sequence[Used], days: tuple[str, str]) -> None:
    page = draw(tmp_path, used, days)
    look(browser, page)
    tables = browser.ask(READ_TABLES)
    assert {name: numbers(cells)["requests"] for name, cells in tables["by-client"].items()} == {
        "total": 0.0,
        **{name: line["requests"] for name, line in expected(used, "client").items()},
    }
    slots = browser.ask("document.querySelectorAll('#daily-cost .part').length")
    assert slots <= 31 * 9


def test_names_are_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\"'&amp;"
    used = [Used("2026-11-05", name, name, name, name)]
    page = draw(tmp_path, used, ("2026-11-05", "2026-11-05"), missing={name: name}, notes={name: name}, hosts=[name])
    look(browser, page)
    assert browser.ask("document.querySelectorAll('img, script, iframe').length") == 0
    assert set(browser.ask(READ_TABLES)["by-pool"]) == {name, "total"}
    assert name in browser.ask("document.body.innerText")
