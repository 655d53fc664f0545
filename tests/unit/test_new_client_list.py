"""The list of client keys in the text of a vault."""

import pytest
import yaml
from client_key_list import ListFault, add, entries, revoke

ENTRY = {"name": "alice", "key": "a-key", "pools": ["glm-pool"], "rpm": 60}
LINES = "- name: alice\n  key: a-key\n  pools: [glm-pool]\n  rpm: 60\n"
INDENTED = "".join(f"  {line}\n" for line in LINES.splitlines())
NAME = "vault_litellm_proxy_client_keys"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{NAME}:\n{INDENTED}"),
        ("# nothing yet\n", f"# nothing yet\n{NAME}:\n{INDENTED}"),
        ("---\na: 1", f"---\na: 1\n{NAME}:\n{INDENTED}"),
        (f"{NAME}: []  # nobody\na: 1\n", f"{NAME}: # nobody\n{INDENTED}a: 1\n"),
        (f"{NAME}:\n\na: 1\n", f"{NAME}:\n{INDENTED}\na: 1\n"),
        (f"{NAME}:\n- name: bob # b\n\n# of a\na: 1\n", f"{NAME}:\n- name: bob # b\n{LINES}\n# of a\na: 1\n"),
        (f"{NAME}:\n  - name: bob", f"{NAME}:\n  - name: bob\n{INDENTED}"),
        (f"{NAME}:\n- name: bob\n  pools:\n  - x\na: 1\n", f"{NAME}:\n- name: bob\n  pools:\n  - x\n{LINES}a: 1\n"),
        (
            f"{NAME}:\n  - name: bob\n    key: !vault |\n      $ANSIBLE_VAULT\n      6162\na: 1\n",
            f"{NAME}:\n  - name: bob\n    key: !vault |\n      $ANSIBLE_VAULT\n      6162\n{INDENTED}a: 1\n",
        ),
        (
            f"{NAME}: [{{name: bob}}]\n",
            f'{NAME}: [{{name: bob}}, {{"name": "alice", "key": "a-key", "pools": ["glm-pool"], "rpm": 60}}]\n',
        ),
    ],
    ids=[
        "empty", "a comment", "no such variable", "empty list", "no value", "not indented", "no end of line",
        "list in the last entry", "tag and block text", "flow style",
    ],
)  # fmt: skip
def test_an_entry_is_added_and_every_other_character_kept(before: str, after: str) -> None:
    assert add(before, ENTRY) == after
    assert entries(after)[-1] == ENTRY


def test_line_ends_stay_what_they_are() -> None:
    assert add("a: 1\r\n", {"name": "alice"}) == f"a: 1\r\n{NAME}:\r\n  - name: alice\r\n"


@pytest.mark.parametrize("name", ["123", "1e3", "null", "true", "2027-01-31", "0x1f", "1_000"])
def test_a_name_that_looks_like_something_else_stays_a_text(name: str) -> None:
    assert yaml.safe_load(add("", {"name": name}))[NAME] == [{"name": name}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"{NAME}:\n- name: alice\n  key: x # k\n- name: bob\n",
            f"{NAME}:\n- name: alice\n  key: x # k\n  state: revoked\n- name: bob\n",
        ),
        (f"{NAME}:\n- state: active # s\n  name: alice\n", f"{NAME}:\n- state: revoked # s\n  name: alice\n"),
        (f"{NAME}:\n- state:\n  name: alice\n", f"{NAME}:\n- state: revoked\n  name: alice\n"),
        (f"{NAME}: [{{name: bob}}, {{name: alice}}]\n", f"{NAME}: [{{name: bob}}, {{name: alice, state: revoked}}]\n"),
    ],
    ids=["no state", "another state", "empty state", "flow style"],
)  # fmt: skip
def test_an_entry_is_revoked_and_every_other_character_kept(before: str, after: str) -> None:
    assert revoke(before, "alice") == after


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [S3CRET\n", "is not YAML at line 2, column 1: correct it with ansible-vault edit"),
        ("a: *S3CRET\n", "is not YAML at line 1, column 4: correct it"),
        ("a: 1\n---\nb: S3CRET\n", "is not YAML at line 2"),
        ("- S3CRET\n", "has no variables: it must be a mapping"),
        (f"{NAME}: S3CRET\n", f"has {NAME}, which is not a list"),
        (f"{NAME}: {{alice: S3CRET}}\n", f"has {NAME}, which is not a list"),
        (f"{NAME}: [{{name: bob}}, S3CRET]\n", f"has {NAME}[1], which is not an entry"),
        ("{a: S3CRET}\n", "is written in a way that cannot be added to"),
        ("a: S3CRET\n...\n", "is written in a way that cannot be added to"),
        ("~\n", "is written in a way that cannot be added to"),
        (f"a: &a [{{name: bob}}]\n{NAME}: *a\n", "is written in a way that cannot be added to"),
    ],
)
def test_what_cannot_be_added_to_is_told_without_a_value(text: str, told: str) -> None:
    with pytest.raises(ListFault) as fault:
        add(text, ENTRY)
    assert told in str(fault.value)
    assert "S3CRET" not in str(fault.value)
    assert fault.value.__cause__ is None
