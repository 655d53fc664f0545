"""What the report of a load says."""

import math

import pytest

from tests.load import Kind, Report, Sample
from tests.load.report import percentile

JSON = Kind("openai", "json", "kept")
LONG = Kind("anthropic", "long", "new")


def sample(kind: Kind = JSON, began: float = 100.0, took: float = 1.0, failure: str = "", key: str = "old") -> Sample:
    return Sample(kind, began, took, failure, "what" if failure else "", 0.5, key)


def report(*samples: Sample) -> Report:
    return Report(100.0, 10.0, samples)


def test_failures_are_counted_and_told() -> None:
    made = report(sample(), sample(failure="reset", key=""), sample(LONG, failure="truncated"))
    assert [failed.failure for failed in made.failures] == ["reset", "truncated"]
    text = str(made)
    assert "3 requests in 10.0 s (0.3 a second), 2 failed" in text
    assert "failed: 1 reset, 1 truncated" in text
    assert "reset after 1.00 s, openai json, kept connection, connection 0.5 s old: what" in text


def test_each_kind_has_a_row() -> None:
    lines = [line.replace(" ", "") for line in str(report(sample(), sample(took=3), sample(LONG))).splitlines()]
    assert "|openai|json|kept|2|0|3.00|3.00|" in lines
    assert "|anthropic|long|new|1|0|1.00|1.00|" in lines
    assert "|all|||3|0|1.00|3.00|" in lines


def test_since_when_only_new_keys_answer() -> None:
    made = report(
        sample(began=100), sample(began=101, key="new"), sample(LONG, began=102, took=5), sample(began=103, key="new")
    )
    assert made.last_of({"old"}) == 107
    assert made.last_of({"never"}) is None
    assert made.answered_by(since=103) == {"new": 1}
    assert made.answered_by() == {"old": 2, "new": 2}
    lines = [line.replace(" ", "") for line in str(made).splitlines()]
    assert "|old|2|1.0|7.0|" in lines


def test_a_failed_request_is_no_answer_of_its_key() -> None:
    assert report(sample(failure="truncated")).answered_by() == {}


def test_requests_of_a_window_go_by_when_they_were_sent() -> None:
    made = report(sample(began=100, took=9), sample(began=105))
    assert [found.began for found in made.between(104, 106)] == [105]


def test_an_empty_report_can_be_printed() -> None:
    assert "0 requests" in str(Report(0.0, 0.0, []))


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 3), (99, 4), (100, 4)])
def test_percentile(percent: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == value


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 50))
