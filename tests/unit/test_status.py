"""The table that playbooks/status.yml prints."""

from typing import Any

import pytest
from litellm_proxy_status import status_table

POOL = {"name": "glm-pool", "model": "glm-5.3", "waiting": 4, "queue_size": 100, "queue_timeout": 60}
ACTIVE = {"state": "active", "in_flight": 1, "slots": 2, "until": None, "reason": ""}
TEAM_A = {
    **ACTIVE,
    "name": "team-a",
    "account": "billing",
    "rpm_used": 3,
    "rpm": 60,
    "answers": 17,
    "refusals": {"1305": 2, "1302": 1},
    "models": {"glm-5.3": ACTIVE},
}


def status(*keys: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {"strategy": "round-robin", "shared": None, "pools": [POOL], "keys": list(keys), **changes}


def rows(*keys: dict[str, Any]) -> list[str]:
    """The table below its headings, one space between words."""
    return [" ".join(line.split()) for line in status_table(status(*keys)).splitlines()[3:]]


def test_pools_and_keys() -> None:
    assert status_table(status(TEAM_A)).splitlines() == [
        "round-robin; this instance counts for itself",
        "glm-pool (glm-5.3): 4 of 100 waiting, 60 s at most",
        "KEY     ACCOUNT  STATE   IN FLIGHT  RPM   ANSWERS  REFUSALS       UNTIL  REASON",
        "team-a  billing  active  1/2        3/60  17       1302:1 1305:2  -      -",
    ]


def test_without_a_limit_only_what_is_used_is_shown() -> None:
    free = {**TEAM_A, "rpm": None, "refusals": {}, "models": {"glm-5.3": {**ACTIVE, "slots": None}}}
    assert rows(free) == ["team-a billing active 1 3 17 - - -"]


def test_end_and_reason_of_a_state() -> None:
    parked = {**TEAM_A, "state": "parked", "until": "2026-11-22T15:00:00Z", "reason": "1308 usage limit", "models": {}}
    assert rows(parked) == ["team-a billing parked 1/2 3/60 17 1302:1 1305:2 2026-11-22T15:00:00Z 1308 usage limit"]


def test_limits_of_several_models_have_a_column_each() -> None:
    flash = {**ACTIVE, "in_flight": 0, "slots": 5}
    both = {**TEAM_A, "refusals": {}, "models": {"glm-5.3": ACTIVE, "glm-5.3-flash": flash}}
    one = {**both, "name": "b", "models": {"glm-5.3": {**ACTIVE, "slots": None}}}
    *_, headings, first, second = status_table(status(both, one)).splitlines()
    assert " ".join(headings.split()).startswith("KEY ACCOUNT STATE glm-5.3 glm-5.3-flash RPM")
    assert " ".join(first.split()) == "team-a billing active 1/2 0/5 3/60 17 - - -"
    assert " ".join(second.split()) == "b billing active 1 - 3/60 17 - - -"


def test_model_that_rests_alone_is_told() -> None:
    cooling = {**ACTIVE, "state": "cooling", "in_flight": 0}
    models = {"glm-5.3": ACTIVE, "glm-5.3-flash": cooling}
    assert "1/2 active 0/2 cooling 3/60" in rows({**TEAM_A, "state": "cooling", "models": models})[0]
    out = {**ACTIVE, "state": "out"}
    assert "out 1/2 1/2 3/60" in rows({**TEAM_A, "state": "out", "models": {"glm-5.3": out, "glm-5.3-flash": out}})[0]


def test_columns_are_aligned_and_lines_have_no_end_of_blanks() -> None:
    _, _, *table = status_table(status(TEAM_A, {**TEAM_A, "name": "a-much-longer-name", "state": "out"})).splitlines()
    assert {line.index(word) for line, word in zip(table, ("ACCOUNT", "billing", "billing"), strict=True)} == {20}
    assert [line for line in table if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("shared", "told"),
    [
        ({"connected": True, "members": 3}, "limits shared through Redis by 3 process(es)"),
        ({"kind": "redis", "connected": True, "members": 1}, "limits shared through Redis by 1 process(es)"),
        (
            {"kind": "redis", "connected": False, "members": 2},
            "Redis is away: a share of each limit, as of 2 process(es)",
        ),
        ({"kind": "local", "connected": True, "members": 1}, "this instance counts for itself"),
        ({"kind": "local", "connected": False, "members": 1}, "this instance counts for itself"),
        ({"kind": "local", "connected": True, "members": 2}, "limits shared by 2 instances on this host"),
        (
            {"kind": "local", "connected": False, "members": 2},
            "the host's store is away: a share of each limit, as of 2 instances on this host",
        ),
    ],
)
def test_what_limits_are_shared_through(shared: dict[str, object], told: str) -> None:
    assert status_table(status(TEAM_A, shared=shared)).startswith(f"round-robin; {told}\n")


def test_reason_of_an_upstream_cannot_break_the_table() -> None:
    (row,) = rows({**TEAM_A, "reason": "two\nlines \x1b[31m" + "x" * 500})
    assert "two lines [31mxxx" in row
    assert row.endswith("x…")
    assert len(row) < 160


def test_missing_fields_are_shown_as_such() -> None:
    assert status_table({}).splitlines()[0] == "-; this instance counts for itself"
    assert rows({"name": "team-a"}) == ["team-a - - - - - - - -"]
