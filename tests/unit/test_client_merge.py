"""Merging into the settings of others, and taking out again what was put in and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import tomlkit
from litellm_client_plan import BEGIN, END, Change, Unreadable, merge

Settings = list[tuple[tuple[str, ...], Any]]
URL = (("env", "ANTHROPIC_BASE_URL"), "http://llm:4000")
HELPER = (("apiKeyHelper",), "print-token")
JSON: Settings = [HELPER, URL]
TOML: Settings = [
    (("model",), "glm-5.3"),
    (("model_provider",), "litellm"),
    (("model_providers", "litellm", "base_url"), "http://llm:4000/v1"),
    (("model_providers", "litellm", "auth", "args"), ["-c", "cat"]),
]
COMMENTED = """\
# mine
model = "gpt-5.6"   # the best
approval_policy = "on-request"

# servers
[mcp_servers.docs] # keep
command = "npx"
env = { TOKEN = "secret-of-mine" }

[model_providers.other]
name = "Other" # too
"""


def taken_out(kind: str, text: str | None, change: Change) -> str | None:
    return merge(kind, text, [], change.entry).text


def data(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(change.text or "")
    return found


@pytest.mark.parametrize("text", [None, "", " \n", "{}", '{"env": {}}\n'])
def test_json_gets_the_settings(text: str | None) -> None:
    assert data(merge("json", text, JSON, None)) == {"apiKeyHelper": "print-token", "env": {URL[0][1]: URL[1]}}


@pytest.mark.parametrize(
    "foreign",
    [
        {"permissions": {"allow": ["Bash(ls:*)"]}, "env": {"FOO": "bar"}},
        {"hooks": {"a": [{"b": None}]}, "x": 1.5, "ä": "ö", "y": True},
        {"env": {"ANTHROPIC_AUTH_TOKEN": "secret-of-mine"}},
        {"env": {}},
    ],
)
def test_foreign_json_stays_and_comes_back(foreign: dict[str, Any]) -> None:
    text = json.dumps(foreign, indent=4, ensure_ascii=False)
    change = merge("json", text, JSON, None)
    merged = data(change)
    assert {**foreign, "env": {**foreign.get("env", {}), URL[0][1]: URL[1]}, "apiKeyHelper": "print-token"} == merged
    assert list(merged)[: len(foreign)] == list(foreign)
    assert (change.text or "").startswith('{\n    "')
    assert json.loads(taken_out("json", change.text, change) or "") == foreign


@pytest.mark.parametrize(("kind", "wanted", "text"), [("json", JSON, '{"a": 1}'), ("toml", TOML, COMMENTED)])
def test_a_second_time_changes_nothing(kind: str, wanted: Settings, text: str) -> None:
    first = merge(kind, text, wanted, None)
    second = merge(kind, first.text, wanted, first.entry)
    assert (second.text, second.entry) == (first.text, first.entry)
    assert second.shown() == ("", "")


@pytest.mark.parametrize(("kind", "wanted"), [("json", JSON), ("toml", TOML), ("block", [((), "line")])])
def test_a_file_that_was_made_goes_when_it_is_empty(kind: str, wanted: Settings) -> None:
    change = merge(kind, None, wanted, None)
    assert change.text
    assert taken_out(kind, change.text, change) is None


@pytest.mark.parametrize(
    ("kind", "wanted", "more"),
    [
        ("json", JSON, lambda text: text.replace("{", '{"mine": 1,', 1)),
        ("toml", TOML, lambda text: "mine = 1\n" + text),
        ("block", [((), "line")], lambda text: "mine 1\n" + text),
    ],
)
def test_a_file_that_was_made_stays_when_somebody_uses_it(kind: str, wanted: Settings, more: Any) -> None:
    change = merge(kind, None, wanted, None)
    rest = taken_out(kind, more(change.text), change)
    assert rest is not None and "mine" in rest and "llm" not in rest


@pytest.mark.parametrize(
    ("kind", "wanted", "text"), [("json", JSON, "{}"), ("toml", TOML, "# mine\n"), ("block", [((), "x")], "")]
)
def test_a_file_that_was_there_stays(kind: str, wanted: Settings, text: str) -> None:
    change = merge(kind, text, wanted, None)
    assert (taken_out(kind, change.text, change) or "").strip() == text.strip()


@pytest.mark.parametrize(("kind", "text"), [("json", None), ("toml", None), ("block", None), ("json", '{"a": 1}')])
def test_taking_out_twice_changes_nothing(kind: str, text: str | None) -> None:
    change = merge(kind, text, [], None)
    assert (change.text, change.entry["settings"]) == (text, [])


def test_a_value_that_was_changed_since_stays() -> None:
    change = merge("json", "{}", JSON, None)
    text = (change.text or "").replace("http://llm:4000", "https://mine")
    assert json.loads(taken_out("json", text, change) or "") == {"env": {URL[0][1]: "https://mine"}}


def test_a_value_that_was_removed_since_is_no_fault() -> None:
    change = merge("json", '{"a": 1}', JSON, None)
    assert json.loads(taken_out("json", '{"a": 1}', change) or "") == {"a": 1}


def test_the_value_of_somebody_else_is_replaced_and_comes_back() -> None:
    change = merge("json", '{"env": {"ANTHROPIC_BASE_URL": "https://mine"}}', [URL], None)
    assert data(change)["env"] == {URL[0][1]: URL[1]}
    assert json.loads(taken_out("json", change.text, change) or "") == {"env": {URL[0][1]: "https://mine"}}


def test_it_comes_back_after_several_changes_of_ours() -> None:
    first = merge("json", '{"env": {"ANTHROPIC_BASE_URL": "https://mine"}}', [URL], None)
    second = merge("json", first.text, [(URL[0], "http://other:4000")], first.entry)
    assert json.loads(taken_out("json", second.text, second) or "")["env"][URL[0][1]] == "https://mine"


def test_the_last_value_of_somebody_else_is_the_one_that_comes_back() -> None:
    first = merge("json", "{}", [URL], None)
    second = merge("json", '{"env": {"ANTHROPIC_BASE_URL": "https://later"}}', [URL], first.entry)
    assert data(second)["env"][URL[0][1]] == URL[1]
    assert json.loads(taken_out("json", second.text, second) or "")["env"][URL[0][1]] == "https://later"


def test_what_somebody_had_just_like_ours_stays_theirs() -> None:
    text = json.dumps({"env": {URL[0][1]: URL[1]}})
    change = merge("json", text, [URL], None)
    assert change.text == text
    assert taken_out("json", text, change) == text


def test_a_setting_that_is_not_wanted_any_more_goes() -> None:
    first = merge("json", "{}", JSON, None)
    second = merge("json", first.text, [HELPER], first.entry)
    assert data(second) == {"apiKeyHelper": "print-token"}
    assert [setting["path"] for setting in second.entry["settings"]] == [["apiKeyHelper"]]


def test_a_replaced_secret_is_told_and_not_kept() -> None:
    change = merge("json", '{"apiKeyHelper": "echo secret-of-mine"}', [HELPER], None)
    assert change.lost == [("apiKeyHelper",)]
    assert "secret-of-mine" not in json.dumps(change.entry) + "".join(change.shown())


def test_what_is_shown_is_the_change_alone() -> None:
    text = '{"env": {"ANTHROPIC_BASE_URL": "https://me:pass-of-mine@mine", "MY_TOKEN": "secret-of-mine"}}'
    before, after = merge("json", text, JSON, None).shown()
    assert before == 'env.ANTHROPIC_BASE_URL = "https://(hidden)@mine"\n'
    assert sorted(after.splitlines()) == ['apiKeyHelper = "print-token"', 'env.ANTHROPIC_BASE_URL = "http://llm:4000"']


def test_toml_keeps_comments_order_and_what_is_foreign() -> None:
    change = merge("toml", COMMENTED, TOML, None)
    text = change.text or ""
    assert set(COMMENTED.splitlines()) - set(text.splitlines()) == {'model = "gpt-5.6"   # the best'}
    assert 'model = "glm-5.3"   # the best' in text
    kept = [line for line in text.splitlines() if line in COMMENTED.splitlines() and line]
    assert kept == [line for line in COMMENTED.splitlines() if line and "gpt" not in line]
    assert tomlkit.parse(text).unwrap() == change.after
    assert taken_out("toml", text, change) == COMMENTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[tui]\na = 1\n",
        "[[list]]\na = 1\n[[list]]\na = 2\n",
        'model_providers = { other = { name = "x" } }\n',
        'model_providers.other.name = "x"\n',
        '[model_providers]\n[model_providers.other]\nname = "x"\n[tui]\na = 1\n',
        '[model_providers.other]\nname = "x"\n[tui]\na = 1\n[model_providers.more]\nname = "y"\n',
        "when = 2026-01-01T00:00:00Z\r\n[tui]\r\na = 1\r\n",
        '"model" = "quoted"\n',
        "# only a comment",
    ],
)
def test_every_layout_of_toml_is_merged_or_left_alone(text: str) -> None:
    before = tomlkit.parse(text).unwrap()
    try:
        change = merge("toml", text, TOML, None)
    except Unreadable as error:
        assert "cannot be edited safely" in str(error)
        return
    after: Any = tomlkit.parse(change.text or "").unwrap()
    assert (after["model"], after["model_provider"]) == ("glm-5.3", "litellm")
    assert after["model_providers"]["litellm"]["auth"] == {"args": ["-c", "cat"]}
    assert {name: after["model_providers"].get(name) for name in before.get("model_providers", {})} == dict(
        before.get("model_providers", {})
    )
    assert tomlkit.parse(taken_out("toml", change.text, change) or "").unwrap() == before


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("json", "{", "is no JSON (line 1, column 2)"),
        ("json", '{"token": "secret-of-mine",}', "is no JSON"),
        ("json", "// secret-of-mine\n{}", "is no JSON"),
        ("json", '["secret-of-mine"]', "is no JSON object"),
        ("json", '{"env": {"A": "secret-of-mine", "A": 1}}', "has 'A' twice"),
        ("json", '{"env": "secret-of-mine"}', "has a env that is no table"),
        ("json", '{"env": ["secret-of-mine"]}', "has a env that is no table"),
        ("json", '{"apiKeyHelper": {"a": "secret-of-mine"}}', "is a table, not one value"),
        ("toml", "secret-of-mine", "is no TOML"),
        ("toml", 'a = "secret-of-mine', "is no TOML"),
        ("toml", 'a = 1\na = "secret-of-mine"\n', "is no TOML"),
        ("toml", 'model_providers = "secret-of-mine"\n', "has a model_providers that is no table"),
        ("block", f"{BEGIN}\nsecret-of-mine\n", "without its end"),
        ("block", f"secret-of-mine\n{END}\n", "without its end"),
    ],
)
def test_what_cannot_be_merged_is_told_without_its_content(kind: str, text: str, says: str) -> None:
    wanted: Mapping[str, Settings] = {"json": JSON, "toml": TOML, "block": [((), "line")]}
    with pytest.raises(Unreadable) as caught:
        merge(kind, text, wanted[kind], None)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "mine\n", "mine", "a\n\nb\n"])
def test_a_block_is_put_behind_and_taken_out(text: str) -> None:
    change = merge("block", text, [((), ". environment")], None)
    assert change.text == text + ("\n" if text == "mine" else "") + f"{BEGIN}\n. environment\n{END}\n"
    assert (taken_out("block", change.text, change) or "").rstrip("\n") == text.rstrip("\n")


def test_a_block_is_replaced_where_it_stands() -> None:
    text = f"a\n{BEGIN}\nold\n{END}\nb\n"
    assert merge("block", text, [((), "new")], None).text == f"a\n{BEGIN}\nnew\n{END}\nb\n"
