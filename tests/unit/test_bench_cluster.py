"""What the cluster's measurement makes of its counts."""

import pytest

from tests.bench.cluster import PARTS, Asked, Row, tables

COMMANDS = {
    "cmdstat_evalsha": {"calls": 200}, "cmdstat_ping": {"calls": 4}, "cmdstat_zadd": {"calls": 500},
    "cmdstat_hgetall": {"calls": 300}, "cmdstat_info": {"calls": 1}, "cmdstat_config|resetstat": {"calls": 1},
}  # fmt: skip
ASKED = Asked.of(COMMANDS, {"latency_percentiles_usec_evalsha": {"p50": 90.1, "p99": 400.4, "p99.9": 900.0}})


def row(hosts: int, answers: int, part: float = 0.0) -> Row:
    return Row(hosts, part, 10.0, answers, 0, [0.1, 0.2], dict.fromkeys(PARTS, 0.25), 0.0, 0.5, ASKED)


def test_commands_of_scripts_are_told_from_those_over_the_network() -> None:
    assert Asked(commands=204, scripted=800, p50=90.1, p99=400.4) == ASKED


def test_redis_that_ran_no_script_has_no_times() -> None:
    assert Asked.of({}, {}) == Asked(0, 0, 0.0, 0.0)


def test_ratios_are_to_one_host_under_the_same_conditions() -> None:
    text = tables([row(1, 100), row(1, 40, 0.25), row(2, 150), row(2, 80, 0.25)])
    throughput = [[cell.strip() for cell in line.split("|")[1:6]] for line in text.split("\n\n")[0].splitlines()[2:]]
    assert throughput == [
        ["all there are", "1", "10.0", "1.00", "100%"],
        ["all there are", "2", "15.0", "1.50", "75%"],
        ["0.25 of a core", "1", "4.0", "1.00", "100%"],
        ["0.25 of a core", "2", "8.0", "2.00", "100%"],
    ]


def test_operations_are_counted_by_answer_and_by_second() -> None:
    assert row(1, 100).redis_cells()[2:6] == ["2.04", "8.0", "20", "90 / 400"]


def test_no_answer_at_all_is_no_division_by_zero() -> None:
    assert row(1, 0).cells(row(1, 0))[3] == "nan"
    assert row(1, 0).rate == pytest.approx(0)
