"""The list of client keys: what is wrong with it, and the file that the proxy gets."""

import calendar
import hashlib
import json
import time
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
import role_settings
import yaml
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litellm_proxy_clients import document, expiry, faults
from role_settings import KEY_A, MASTER_KEY

from glm_pool.clients import parse

KEY = "sk-Kq7mZ3vT9xB2nL5wR8cD1fG6hJ4pS0aE"
OTHER = "sk-aB8dF2hJ6kM1pR5tV9xZ3cE7gI0lN4qS"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
LIST = "litellm_proxy_client_keys"


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "alice", "key": KEY, **fields}


def settings(*clients: object, **changes: Any) -> dict[str, Any]:
    return role_settings.settings(client_keys=list(clients), **changes)


def found(*clients: object, **changes: Any) -> list[str]:
    """The faults, none of which may repeat a key."""
    told = faults(settings(*clients, **changes))
    for fault in told:
        for secret in (KEY, OTHER, DIGEST, MASTER_KEY, KEY_A):
            assert secret not in fault
    return told


def the_fault(*clients: object, **changes: Any) -> str:
    (fault,) = found(*clients, **changes)
    return fault


def written(**fields: Any) -> dict[str, Any]:
    """The entry in the proxy's file."""
    assert found(entry(**fields)) == []
    (client,) = document(settings(entry(**fields)))["clients"]
    return dict(client)


# The whole list


def test_no_clients_are_no_fault() -> None:
    assert found() == []


def test_what_is_left_out_is_no_fault() -> None:
    nothing = dict.fromkeys(("pools", "rpm", "max_parallel_requests", "monthly_tokens", "monthly_budget", "expires"))
    assert found(entry(), entry(name="bob", key=OTHER, state=None, key_sha256=None, **nothing)) == []


def test_an_absent_proxy_needs_no_clients() -> None:
    assert faults(settings("nonsense", state="absent")) == []


@pytest.mark.parametrize("clients", [None, "alice", {"alice": KEY}, ["alice"], [entry(), None], 7])
def test_what_is_no_list_of_entries(clients: object) -> None:
    (fault,) = faults(role_settings.settings(client_keys=clients))
    assert fault == f"{LIST} must be a list of entries, each with 'name' and 'key'."


@pytest.mark.parametrize("pools", [None, {}, "glm-pool", 5, [None]])
@pytest.mark.parametrize("upstream", [None, {}, "team-a", [None]])
def test_faults_of_other_settings_are_left_to_their_own_judge(pools: object, upstream: object) -> None:
    assert found(entry(), pools=pools, zai_keys=upstream, master_key=None) == []


def test_all_faults_are_told_at_once() -> None:
    told = found(entry(name="A", rpm=0), entry(key=None, state="gone"), prices=[], master_key_answers="yes")
    assert len(told) == 6
    assert [sum(f"{LIST}[{index}]" in fault for fault in told) for index in (0, 1)] == [2, 2]


# Names and fields


@pytest.mark.parametrize("name", ["a", "0", "a" * 63, "build-7.x_y"])
def test_a_good_name(name: str) -> None:
    assert found(entry(name=name)) == []


@pytest.mark.parametrize("name", [None, "", "Alice", "-a", "a b", "a" * 64, "ä", 7, True, ["a"], "alice\n", "a/b"])
def test_a_bad_name(name: object) -> None:
    fault = the_fault(entry(name=name))
    assert fault.startswith(f"{LIST}[0] (")
    assert "needs a 'name' of lower-case letters" in fault


def test_the_master_keys_name_is_taken() -> None:
    assert "[0] (master) has the name master" in the_fault(entry(name="master"))


def test_an_unknown_field() -> None:
    fault = the_fault(entry(rate=5))
    assert f"{LIST}[0] (alice) has an unknown field 'rate': use expires, key, key_sha256," in fault


def test_two_entries_of_one_name() -> None:
    fault = the_fault(entry(), entry(key=OTHER))
    assert f"{LIST}[0] and [1] have the same name (alice)" in fault
    assert "rename one" in fault


# Keys


@pytest.mark.parametrize("key", [KEY, "sk-0123456789abcdef0123456789abcdef0123456789abcdef", "!" + KEY + "~"])
def test_a_good_key(key: str) -> None:
    assert faults(settings(entry(key=key))) == []


def test_a_random_key_may_hold_a_placeholders_word() -> None:
    assert faults(settings(entry(key="sk-Kq7mZ3vT9xB2nTODOwR8cD1fG6hJ4pS0aE"))) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": None}, "has no 'key': make one with playbooks/new_client.yml"),
        ({"key": ""}, "has no 'key'"),
        ({"key": 12345678901234567890123456789012}, "(not a text): quote the value in the vault"),
        ({"key": [KEY]}, "(not a text)"),
        ({"key": "sk-change-me"}, "has a placeholder as 'key'"),
        ({"key": "sk-change-me-to-something-long-and-random"}, "has a placeholder as 'key'"),
        ({"key": "sk-REPLACE_ME_WITH_THE_KEY_OF_ALICE_0000"}, "has a placeholder as 'key'"),
        ({"key": "<key of alice, 32 characters or more>"}, "has a placeholder as 'key'"),
        ({"key": f"{KEY} "}, "white space or characters that no HTTP header carries"),
        ({"key": f"{KEY}\n"}, "white space"),
        ({"key": f"Bearer {KEY}"}, "white space"),
        ({"key": f"{KEY}ü"}, "characters that no HTTP header carries"),
        ({"key": KEY[:31]}, "weak 'key' (it needs 32 characters, 10 of them different)"),
        ({"key": "sk-" + "ab" * 20}, "weak 'key'"),
        ({"key": KEY, "key_sha256": DIGEST}, "has 'key' and 'key_sha256': keep one of them"),
        ({"key": None, "key_sha256": DIGEST[:-1]}, "malformed 'key_sha256': use what this prints: printf %s KEY |"),
        ({"key": None, "key_sha256": DIGEST.upper()}, "malformed 'key_sha256'"),
        ({"key": None, "key_sha256": KEY}, "malformed 'key_sha256'"),
        ({"key": None, "key_sha256": int("1" * 64)}, "malformed 'key_sha256'"),
    ],
)
def test_a_bad_key(fields: dict[str, Any], told: str) -> None:
    (fault,) = faults(settings(entry(**fields)))
    assert fault.startswith(f"{LIST}[0] (alice) has ")
    assert told in fault
    shown = [str(value) for value in fields.values() if len(str(value)) > 20]
    assert not any(value.strip() in fault for value in shown)


@pytest.mark.parametrize(
    "second", [{"key": KEY}, {"key_sha256": DIGEST}, {"key": KEY, "state": "revoked"}], ids=["key", "hash", "revoked"]
)
def test_two_entries_of_one_key(second: dict[str, Any]) -> None:
    fault = the_fault(entry(), {"name": "bob", **second})
    assert f"{LIST}[0] (alice) and [1] (bob) hold the same key" in fault
    assert "replace one" in fault


@pytest.mark.parametrize("as_hash", [False, True])
@pytest.mark.parametrize(
    ("key", "owner"), [(MASTER_KEY, "litellm_proxy_master_key"), (KEY_A, "a key of litellm_proxy_zai_keys")]
)
def test_keys_that_are_somebody_elses(key: str, owner: str, as_hash: bool) -> None:
    given = {"key_sha256": hashlib.sha256(key.encode()).hexdigest()} if as_hash else {"key": key}
    fault = the_fault(entry(name="bob", key=OTHER), {"name": "alice", **given})
    assert fault.startswith(f"{LIST}[1] (alice) equals {owner}: make one with")


@pytest.mark.parametrize("field", ["name", "pools", "rpm", "monthly_budget", "expires", "state", "field"])
def test_a_key_in_the_wrong_place_is_not_repeated(field: str) -> None:
    place: dict[str, Any] = {KEY: 1} if field == "field" else {field: [KEY] if field == "pools" else KEY}
    assert found({**entry(key=OTHER), **place})


def test_names_that_are_keys_are_not_repeated_where_they_are_the_same() -> None:
    hexadecimal = "sk-0123456789abcdef0123456789abcdef"
    told = faults(settings(entry(name=hexadecimal), entry(name=hexadecimal, key=OTHER)))
    assert ["have the same name" in fault for fault in told] == [True]
    assert hexadecimal not in told[0]


# Pools, limits, state, expiry


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"pools": []}, "needs 'pools' as a list of one name or more; leave it out for all"),
        ({"pools": "glm-pool"}, "needs 'pools' as a list"),
        ({"pools": {"glm-pool": 1}}, "needs 'pools' as a list"),
        ({"pools": ["glm-9"]}, "names the pool 'glm-9', which litellm_proxy_pools has not: glm-pool, flash"),
        ({"pools": ["glm-pool", None]}, "names the pool None"),
        ({"rpm": 0}, "has rpm 0: use a whole number of 1 or more, or leave it out"),
        ({"rpm": -1}, "has rpm -1"),
        ({"rpm": 1.5}, "has rpm 1.5"),
        ({"rpm": True}, "has rpm True"),
        ({"rpm": "many"}, "has rpm 'many'"),
        ({"rpm": "6\n"}, "has rpm "),
        ({"max_parallel_requests": "0"}, "has max_parallel_requests '0'"),
        ({"max_parallel_requests": []}, "has max_parallel_requests []"),
        ({"monthly_tokens": "5M"}, "has monthly_tokens '5M'"),
        ({"monthly_tokens": 10**15 + 1}, "has monthly_tokens 1000000000000001"),
        ({"monthly_budget": 0}, "has monthly_budget 0: use USD, a number above 0, or leave it out"),
        ({"monthly_budget": "0.00"}, "has monthly_budget '0.00'"),
        ({"monthly_budget": -2.5}, "has monthly_budget -2.5"),
        ({"monthly_budget": "$5"}, "has monthly_budget '$5'"),
        ({"monthly_budget": float("nan")}, "has monthly_budget nan"),
        ({"monthly_budget": float("inf")}, "has monthly_budget inf"),
        ({"monthly_budget": 1e16}, "has monthly_budget 1e+16"),
        ({"monthly_budget": True}, "has monthly_budget True"),
        ({"state": "off"}, "has the unknown state 'off': use one of active, revoked"),
        ({"state": False}, "has the unknown state False"),
        ({"expires": "tomorrow"}, "has expires 'tomorrow': use a date, such as 2027-01-31, or a moment of ISO 8601"),
        ({"expires": ""}, "has expires ''"),
        ({"expires": "2027-02-30"}, "has expires '2027-02-30'"),
        ({"expires": "31.01.2027"}, "has expires '31.01.2027'"),
        ({"expires": 20270131}, "has expires 20270131"),
        ({"expires": "2027-W04-7"}, "has expires '2027-W04-7'"),
        ({"expires": "2027-01-31+00:00"}, "has expires '2027-01-31+00:00'"),
        ({"expires": "2027-01-31Z"}, "has expires '2027-01-31Z'"),
        ({"expires": "2027-01-31T25:00:00Z"}, "has expires '2027-01-31T25:00:00Z'"),
        ({"expires": True}, "has expires True"),
    ],
)
def test_a_bad_field(fields: dict[str, Any], told: str) -> None:
    pools = [role_settings.pool("glm-pool"), role_settings.pool("flash", "glm-5.3-flash")]
    fault = the_fault(entry(**fields), pools=pools)
    assert fault.startswith(f"{LIST}[0] (alice) ")
    assert told in fault


@pytest.mark.parametrize(
    ("given", "until"),
    [
        ("2027-01-31", "2027-02-01 00:00"),
        (date(2027, 1, 31), "2027-02-01 00:00"),
        ("2028-02-29", "2028-03-01 00:00"),
        ("2026-12-31", "2027-01-01 00:00"),
        ("2027-01-31T18:30", "2027-01-31 18:30"),
        ("2027-01-31 18:30:00", "2027-01-31 18:30"),
        ("2027-01-31T18:30:00Z", "2027-01-31 18:30"),
        (" 2027-01-31t18:30:00z ".replace("t", "T"), "2027-01-31 18:30"),
        ("2027-01-31T18:30:00.250Z", "2027-01-31 18:30"),
        ("2027-01-31T18:30:00+02:00", "2027-01-31 16:30"),
        ("2027-01-31T18:30-05:30", "2027-02-01 00:00"),
        (datetime(2027, 1, 31, 18, 30), "2027-01-31 18:30"),
        (datetime(2027, 1, 31, 18, 30, tzinfo=timezone(timedelta(hours=2))), "2027-01-31 16:30"),
        (yaml.safe_load("2027-01-31"), "2027-02-01 00:00"),
        (yaml.safe_load("2027-01-31T18:30:00Z"), "2027-01-31 18:30"),
        (yaml.safe_load("2027-01-31 18:30:00 +2"), "2027-01-31 16:30"),
        (yaml.safe_load("2027-01-31 18:30:00.5"), "2027-01-31 18:30"),
    ],
)
def test_an_expiry_is_a_moment_of_utc(given: object, until: str) -> None:
    moment = written(expires=given)["expires"]
    assert time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment)) == until


def test_the_last_day_of_all_is_a_date_too() -> None:
    assert written(expires="9999-12-31")["expires"] == calendar.timegm((9999, 12, 31, 0, 0, 0)) + 86400


@given(st.dates())
def test_a_day_ends_after_a_day(day: date) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    assert expiry(day) == expiry(day.isoformat()) == expiry(midnight) + 86400


@given(st.datetimes(timezones=st.timezones() | st.just(timezone.utc), allow_imaginary=False))
@hypothesis_settings(max_examples=50, deadline=None)
def test_every_moment_is_read_as_python_reads_it(moment: datetime) -> None:
    offset = moment.utcoffset()
    assert offset is not None
    if offset.seconds % 60 == 0:
        assert expiry(moment) == expiry(moment.isoformat()) == int(moment.timestamp())


# Prices and the rest


@pytest.mark.parametrize(
    "prices", [{}, {"glm-5.3": {"input": 1.4, "output": "4.4", "cached": 0}}, {"x": {"input": "0.0", "output": 1e-05}}]
)
def test_good_prices(prices: object) -> None:
    assert found(prices=prices) == []


@pytest.mark.parametrize(
    "price",
    [
        None,
        5,
        [],
        {"input": 1},
        {"output": 1},
        {"input": 1, "output": 1, "write": 1},
        {"input": -1, "output": 1},
        {"input": 1, "output": "cheap"},
        {"input": False, "output": 1},
        {"input": float("nan"), "output": 1},
        {"input": 1, "output": None},
    ],
)
def test_bad_prices(price: object) -> None:
    fault = the_fault(prices={"glm-5.3": price})
    assert fault.startswith("litellm_proxy_prices['glm-5.3'] needs numbers of 0 or more for input, output")


def test_prices_are_a_mapping() -> None:
    assert the_fault(prices=["glm-5.3"]).startswith("litellm_proxy_prices must be a mapping by upstream model")


@pytest.mark.parametrize("answer", [None, "yes", 1])
def test_master_key_answers_is_a_bool(answer: object) -> None:
    assert the_fault(master_key_answers=answer) == (
        f"litellm_proxy_master_key_answers is {answer!r}: use true or false."
    )


@pytest.mark.parametrize("days", [0, 10_001, "long", None, 1.5, True])
def test_bad_usage_days(days: object) -> None:
    assert the_fault(usage_days=days) == f"litellm_proxy_usage_days is {days!r}: use a whole number from 1 to 10000."


# The document


def test_the_document_has_hashes_only() -> None:
    text = json.dumps(document(settings(entry(), {"name": "bob", "key_sha256": "0" * 64})))
    assert KEY not in text
    assert MASTER_KEY not in text
    assert [client["sha256"] for client in json.loads(text)["clients"]] == [DIGEST, "0" * 64]


def test_an_entry_of_two_fields() -> None:
    assert written() == {"name": "alice", "sha256": DIGEST, "state": "active"}


def test_numbers_may_be_texts() -> None:
    fields = {"rpm": "60", "max_parallel_requests": "4", "monthly_tokens": "50000000", "monthly_budget": "12.5"}
    assert written(**fields) == {
        "name": "alice",
        "sha256": DIGEST,
        "state": "active",
        "rpm": 60,
        "max_parallel_requests": 4,
        "monthly_tokens": 50_000_000,
        "monthly_budget": 12.5,
    }


def test_everything_else_of_the_document() -> None:
    changes = {"prices": {"glm-5.3": {"input": "1.4", "output": 4}}, "usage_days": "90", "master_key_answers": False}
    found = document(settings(**changes))
    assert found == {
        "master_key_answers": False,
        "usage_days": 90,
        "prices": {"glm-5.3": {"input": 1.4, "output": 4.0}},
        "clients": [],
    }


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.dates() | st.datetimes()
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
PLAUSIBLE = {
    "name": st.sampled_from(["alice", "bob", "Bob"]),
    "key": st.sampled_from([KEY, OTHER, MASTER_KEY, "sk-change-me"]),
    "key_sha256": st.sampled_from([DIGEST, "x"]),
    "pools": st.sampled_from([["glm-pool"], ["x"]]),
    "rpm": st.integers(-1, 100),
    "monthly_budget": st.floats(-1, 100),
    "expires": st.dates().map(str),
    "state": st.sampled_from(["active", "revoked"]),
}
ENTRIES = st.fixed_dictionaries({}, optional={name: good | VALUES for name, good in PLAUSIBLE.items()})


@given(st.lists(ENTRIES, max_size=3))
@example([{"name": "alice", "key": KEY, "expires": date.max}])
@hypothesis_settings(max_examples=200, deadline=None)
def test_whatever_is_written_there_is_told_or_understood(clients: list[dict[str, Any]]) -> None:
    """No value makes the judge fail, and what it finds good the proxy can read."""
    told = faults(settings(*clients))
    assert not any(secret in fault for fault in told for secret in (KEY, OTHER, MASTER_KEY, DIGEST))
    assert all(fault.startswith(LIST) for fault in told)
    if not told:
        directory = parse(json.loads(json.dumps(document(settings(*clients)))))
        assert [client.name for client in directory.clients] == [client["name"] for client in clients]
