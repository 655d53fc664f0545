"""What a workstation gets: Claude Code's settings, Codex's config, the shells' variables, and where the token lies."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from litellm_client_files import accounts, claude_settings, codex_config, helper_script, places, shell_environment
from litellm_client_plan import plan
from litellm_client_read import group, look
from litellm_client_write import Files
from test_client_validate import TOKEN, URL, settings

ME = pwd.getpwuid(os.geteuid()).pw_name


def contents(account: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["content"] for file in account["files"] if file["format"] == "own"}


def test_claude_code_gets_texts_and_no_token() -> None:
    found = claude_settings(settings(), "/print token")
    assert found["apiKeyHelper"] == "/print token"
    assert found["env"] == {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "glm-5.3",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "glm-5.3",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "glm-5.3-flash",
        "API_TIMEOUT_MS": "3000000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    }


@pytest.mark.parametrize(
    ("changes", "variables"),
    [
        ({"models": {"default": "glm-pool"}}, {"ANTHROPIC_MODEL": "glm-pool"}),
        (
            {"context_tokens": 200000},
            {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "200000", "CLAUDE_CODE_DISABLE_1M_CONTEXT": "1"},
        ),
        ({"context_tokens": 400000}, {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "400000"}),
        ({"ca_bundle": "/etc/ca.pem"}, {"NODE_EXTRA_CA_CERTS": "/etc/ca.pem"}),
        ({"claude_env": {"A": 4, "B": True, "C": False, "DISABLE_AUTOUPDATER": "0"}},
         {"A": "4", "B": "1", "C": "0", "DISABLE_AUTOUPDATER": "0"}),
    ],
)  # fmt: skip
def test_variables_come_from_the_settings(changes: dict[str, Any], variables: dict[str, str]) -> None:
    plain, found = claude_settings(settings(models={}), "x")["env"], claude_settings(settings(**changes), "x")["env"]
    assert {name: found[name] for name in variables} == variables
    assert "ANTHROPIC_MODEL" not in plain and "CLAUDE_CODE_DISABLE_1M_CONTEXT" not in plain
    assert not [name for name in plain if "DEFAULT" in name]


def test_codex_gets_a_provider_with_a_command() -> None:
    found = codex_config(settings(context_tokens=200000), ["/print"])
    assert (found["model"], found["model_provider"], found["model_context_window"]) == ("glm-5.3", "litellm", 200000)
    provider = found["model_providers"]["litellm"]
    assert (provider["base_url"], provider["wire_api"]) == (f"{URL}/v1", "responses")
    assert (provider["auth"]["command"], provider["auth"]["args"]) == ("/print", [])


def test_codex_knows_no_suffix_of_claude_code() -> None:
    assert codex_config(settings(models={"opus": "glm-5.3[1m]"}), ["x"])["model"] == "glm-5.3"
    assert codex_config(settings(models={"opus": "a", "default": "b"}), ["x"])["model"] == "b"
    assert "model" not in codex_config(settings(models={"haiku": "a"}), ["x"])


def test_more_of_codex_goes_into_the_same_tables() -> None:
    more = {"model": "mine", "model_providers": {"litellm": {"request_max_retries": 1}}, "tui": {"theme": "a"}}
    found = codex_config(settings(codex_config=more), ["x"])
    assert (found["model"], found["tui"]) == ("mine", {"theme": "a"})
    assert found["model_providers"]["litellm"]["request_max_retries"] == 1
    assert found["model_providers"]["litellm"]["wire_api"] == "responses"


def run(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", script], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_shell_reads_the_token_when_it_runs(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    (home / ".config/litellm-client").mkdir(parents=True)
    more = {"A": "it's $HOME; `x`"}
    lines = shell_environment(settings(environment=more, ca_bundle="/c a.pem"), "~/.config/litellm-client/token")
    assert TOKEN not in lines
    assert run(lines + "\nenv", home).stdout.count(URL) == 0
    (home / ".config/litellm-client/token").write_text(f"{TOKEN}\n")
    found = dict(line.split("=", 1) for line in run(lines + "\nenv", home).stdout.splitlines())
    assert found["OPENAI_BASE_URL"] == f"{URL}/v1"
    assert found["ANTHROPIC_BASE_URL"] == URL
    assert found["OPENAI_API_KEY"] == found["ANTHROPIC_AUTH_TOKEN"] == TOKEN
    assert (found["A"], found["NODE_EXTRA_CA_CERTS"]) == ("it's $HOME; `x`", "/c a.pem")


def test_the_helper_prints_the_token_or_says_what_to_do(tmp_path: Path) -> None:
    token = tmp_path / "a token"
    done = run(helper_script(str(token), "litellm-client"), tmp_path)
    assert done.returncode == 1
    assert "join the group litellm-client" in done.stderr
    token.write_text(f"{TOKEN}\n")
    assert run(helper_script(str(token), "litellm-client"), tmp_path).stdout == f"{TOKEN}\n"


def test_the_token_is_in_one_file_that_not_everybody_reads() -> None:
    for given in (settings(), settings(scope="user", users=["alice"])):
        for account in accounts(given):
            with_token = [file for file in account["files"] if TOKEN in json.dumps(file)]
            assert [(file["mode"], file["secret"]) for file in with_token] == [
                ("0600" if account["user"] else "0640", True)
            ]


def test_scope_and_state_say_whose_settings_are_wanted() -> None:
    def wanted(**changes: object) -> list[tuple[str, bool]]:
        return [(account["user"], account["present"]) for account in accounts(settings(**changes))]

    assert wanted(users=["alice"]) == [("", True)]
    assert wanted(scope="user", users=["alice", "bob"]) == [("", False), ("alice", True), ("bob", True)]
    assert wanted(state="absent", users=["alice"]) == [("", False), ("alice", False)]


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        (["claude"], {"token", "print-token", "50-litellm.json"}),
        (["codex"], {"token", "print-token", "config.toml"}),
        (["environment"], {"token", "print-token", "litellm-client.sh"}),
    ],
)
def test_only_the_wanted_tools_are_set_up(tools: list[str], names: set[str]) -> None:
    machine = accounts(settings(tools=tools))[0]
    assert {Path(file["path"]).name for file in machine["files"]} == names


def test_a_system_without_profile_d_gets_no_profile() -> None:
    assert not [path for path in contents(accounts(settings(profile_file=""))[0]) if path.endswith(".sh")]


# on a machine: the modules with the present user's rights, in a folder of the test's --------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("litellm_client_files.HELPER", str(tmp_path / "lib/litellm-client/print-token"))
    return tmp_path


def given(machine: Path, **changes: object) -> dict[str, Any]:
    """Settings of a machine below the test's folder; its group is that of the user who runs the test."""
    return settings(
        directory=f"{machine}/etc/litellm-client",
        claude_directory=f"{machine}/etc/claude code",
        codex_directory=f"{machine}/etc/codex",
        profile_file=f"{machine}/etc/profile.d/litellm-client.sh",
        group="",
        **changes,
    )


def deploy(wanted: dict[str, Any], check: bool = False) -> tuple[Files, dict[str, Any]]:
    """What the tasks do: read, plan, write."""
    all_accounts = accounts(wanted)
    members = {"exists": True, "members": [], "unknown": []}
    planned = plan(all_accounts, {"accounts": [look(place) for place in places(all_accounts)], "group": members})
    assert planned["faults"] == []
    files = Files(check)
    for account in planned["accounts"]:
        files.apply(written(account))
    return files, planned


def written(account: dict[str, Any]) -> dict[str, Any]:
    """A plan with the defaults that the module's options have."""
    blank = {"remove": False, "content": "", "mode": "0600", "group": "", "merged": False, "expected": "", "before": ""}
    blank |= {"after": "", "shown": False}
    return {**account, "files": [blank | file for file in account["files"]]}


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_machine_is_set_up_and_left_as_it_was(machine: Path) -> None:
    first, _ = deploy(given(machine))
    assert stat.S_IMODE((machine / "etc/litellm-client/token").stat().st_mode) == 0o640
    assert stat.S_IMODE((machine / "etc/litellm-client/record.json").stat().st_mode) == 0o600
    assert [path for path, text in tree(machine).items() if TOKEN in text] == ["etc/litellm-client/token"]
    assert tomlkit.parse((machine / "etc/codex/config.toml").read_text())["model_provider"] == "litellm"
    assert first.changed and TOKEN not in json.dumps(first.diffs)
    assert deploy(given(machine))[0].changed == []
    deploy(given(machine, state="absent"))
    assert list(machine.iterdir()) == []
    assert deploy(given(machine, state="absent"))[0].changed == []


def test_a_check_run_shows_the_same_and_changes_nothing(machine: Path) -> None:
    checked, _ = deploy(given(machine), check=True)
    assert list(machine.iterdir()) == []
    assert checked.diffs == deploy(given(machine))[0].diffs
    before = tree(machine)
    checked, _ = deploy(given(machine, state="absent"), check=True)
    assert tree(machine) == before
    assert checked.diffs == deploy(given(machine, state="absent"))[0].diffs


def test_another_token_is_written_and_not_shown(machine: Path) -> None:
    deploy(given(machine))
    other = "sk-ffb9f4c7e2d8a6053ff99"
    files, _ = deploy(given(machine, token=other))
    assert files.changed == [f"{machine}/etc/litellm-client/token"]
    assert other not in json.dumps(files.diffs) and TOKEN not in json.dumps(files.diffs)


def test_wrong_rights_are_put_right(machine: Path) -> None:
    deploy(given(machine))
    (machine / "etc/litellm-client/token").chmod(0o644)
    assert deploy(given(machine))[0].changed == [f"{machine}/etc/litellm-client/token"]
    assert stat.S_IMODE((machine / "etc/litellm-client/token").stat().st_mode) == 0o640


def test_foreign_files_and_their_directories_stay(machine: Path) -> None:
    foreign = {
        "etc/claude code/managed-settings.json": '{"env": {"A": "1"}}',
        "etc/claude code/managed-settings.d/10-mine.json": "{}",
        "etc/codex/config.toml": "# mine\napproval_policy = 'never'\n",
    }
    for path, text in foreign.items():
        (machine / path).parent.mkdir(parents=True, exist_ok=True)
        (machine / path).write_text(text)
    deploy(given(machine))
    deploy(given(machine, state="absent"))
    assert tree(machine) == foreign


def test_a_tool_that_is_not_wanted_any_more_goes(machine: Path) -> None:
    deploy(given(machine))
    deploy(given(machine, tools=["claude"]))
    assert not (machine / "etc/codex/config.toml").exists()
    assert not (machine / "etc/profile.d/litellm-client.sh").exists()
    assert (machine / "etc/claude code/managed-settings.d/50-litellm.json").exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the user who runs the test."""
    entry = pwd.getpwuid(os.geteuid())
    place = tmp_path / "home"
    place.mkdir()
    changed = pwd.struct_passwd((*entry[:5], str(place), "/bin/zsh"))
    monkeypatch.setattr("litellm_client_read.account", lambda name: changed)
    return place


def mine(tmp_path: Path, **changes: object) -> dict[str, Any]:
    return given(tmp_path / "machine", scope="user", users=[ME], **changes)


def test_a_user_gets_settings_beside_their_own(home: Path, tmp_path: Path) -> None:
    own = {".claude/settings.json": '{"env": {"A": "1"}, "model": "opus"}\n', ".profile": "umask 022\n"}
    for path, text in own.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
    deploy(mine(tmp_path))
    found = json.loads((home / ".claude/settings.json").read_text())
    assert (found["model"], found["env"]["A"], found["env"]["ANTHROPIC_BASE_URL"]) == ("opus", "1", URL)
    assert run(found["apiKeyHelper"], home).stdout == f"{TOKEN}\n"
    codex = tomlkit.parse((home / ".codex/config.toml").read_text())["model_providers"]["litellm"]["auth"]
    assert codex["command"] == "/bin/sh"
    assert run(codex["args"][1], home).stdout == f"{TOKEN}\n"
    for login in (".profile", ".zprofile"):
        assert f"OPENAI_API_KEY={TOKEN}" in run(f". {home}/{login}; env", home).stdout
    assert not (home / ".bash_profile").exists()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (home / ".config/litellm-client").iterdir())
    assert deploy(mine(tmp_path))[0].changed == []
    deploy(mine(tmp_path, state="absent"))
    assert {path: json.loads(text) if path.endswith("json") else text for path, text in tree(home).items()} == {
        ".claude/settings.json": json.loads(own[".claude/settings.json"]), ".profile": own[".profile"],
    }  # fmt: skip


def test_a_link_of_the_users_stays_a_link(home: Path, tmp_path: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles/claude.json").write_text("{}")
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").symlink_to("../dotfiles/claude.json")
    deploy(mine(tmp_path))
    assert (home / ".claude/settings.json").is_symlink()
    assert URL in (home / "dotfiles/claude.json").read_text()


def test_a_file_that_changes_meanwhile_is_left_alone(home: Path, tmp_path: Path) -> None:
    (home / ".profile").write_text("one\n")
    wanted = accounts(mine(tmp_path))
    members = {"exists": True, "members": [], "unknown": []}
    planned = plan(wanted, {"accounts": [look(place) for place in places(wanted)], "group": members})
    (home / ".profile").write_text("two\n")
    with pytest.raises(RuntimeError, match="run the playbook again"):
        Files(check=False).apply(written(planned["accounts"][1]))
    assert (home / ".profile").read_text() == "two\n"


def planned_faults(wanted: dict[str, Any]) -> dict[str, Any]:
    all_accounts = accounts(wanted)
    members = {"exists": False, "members": [], "unknown": ["carol"]}
    return plan(all_accounts, {"accounts": [look(place) for place in places(all_accounts)], "group": members})


def test_files_that_cannot_be_read_are_named_all_at_once(home: Path, tmp_path: Path) -> None:
    (home / ".claude").mkdir()
    (home / ".codex").mkdir()
    (home / ".claude/settings.json").write_text('{"a": "secret-of-mine"')
    (home / ".codex/config.toml").write_bytes(b"a = '\xff'\n")
    faults = planned_faults(mine(tmp_path))["faults"]
    assert [fault.split(" ", 1)[0] for fault in faults] == [
        str(home / ".claude/settings.json"), str(home / ".codex/config.toml"),
    ]  # fmt: skip
    assert all("left untouched" in fault and "secret" not in fault for fault in faults)


def test_a_record_that_is_none_is_named(home: Path, tmp_path: Path) -> None:
    (home / ".config/litellm-client").mkdir(parents=True)
    (home / ".config/litellm-client/record.json").write_text("[]")
    assert "record.json is no record" in planned_faults(mine(tmp_path))["faults"][0]


def test_a_token_that_claude_code_prefers_is_warned_of(home: Path, tmp_path: Path) -> None:
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").write_text('{"env": {"ANTHROPIC_AUTH_TOKEN": "secret-of-mine"}}')
    warnings = planned_faults(mine(tmp_path))["warnings"]
    assert "env.ANTHROPIC_AUTH_TOKEN" in warnings[0] and "secret" not in warnings[0]


def test_a_provider_of_the_same_name_is_not_mixed_with(home: Path, tmp_path: Path) -> None:
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text("[model_providers.litellm]\nenv_key = 'MINE'\n")
    assert "litellm_client_codex_provider" in planned_faults(mine(tmp_path))["faults"][0]
    assert planned_faults(mine(tmp_path, codex_provider="team"))["faults"] == []


def test_unknown_users_are_named(machine: Path) -> None:
    assert "has carol, a user whom" in planned_faults(given(machine, users=["carol"]))["faults"][0]
    assert (
        "has no-such-user, a user" in planned_faults(given(machine, scope="user", users=["no-such-user"]))["faults"][0]
    )
    assert planned_faults(given(machine, state="absent", users=["no-such-user"]))["faults"] == []


# who is in the group -----------------------------------------------------------------


def test_members_are_found_by_whichever_way_they_are_in_the_group() -> None:
    entry = pwd.getpwuid(os.geteuid())
    primary = grp.getgrgid(entry.pw_gid).gr_name
    assert ME in group(primary, [ME])["members"]
    assert group("no-such-group", [ME, "no-such-user"]) == {
        "exists": False, "members": [], "unknown": ["no-such-user"],
    }  # fmt: skip


def groups(machine: Path, members: list[str], exists: bool = True, **changes: object) -> dict[str, Any]:
    """What changes in groups; writes the record."""
    wanted = accounts(given(machine, **changes) | {"litellm_client_group": "team"})[:1]
    found_group = {"exists": exists, "members": members, "unknown": []}
    planned = plan(wanted, {"accounts": [look(place) for place in places(wanted)], "group": found_group})
    for account in planned["accounts"]:
        for file in account["files"]:
            file["group"] = ""
        Files(check=False).apply(written(account))
    found: dict[str, Any] = planned["groups"]
    return found


def test_a_group_of_ours_is_made_and_removed(machine: Path) -> None:
    join = [{"user": "alice", "group": "team"}]
    assert groups(machine, [], exists=False, users=["alice"]) == {
        "create": ["team"], "remove": [], "join": join, "leave": [],
    }  # fmt: skip
    assert groups(machine, ["alice"], users=["alice"]) == {"create": [], "remove": [], "join": [], "leave": []}
    assert groups(machine, ["alice"], users=[])["leave"] == join
    assert groups(machine, [], state="absent")["remove"] == ["team"]
    assert groups(machine, [], exists=False, state="absent")["remove"] == []


def test_a_group_of_others_stays_with_who_was_in_it(machine: Path) -> None:
    assert groups(machine, ["bob"], users=["alice", "bob"])["join"] == [{"user": "alice", "group": "team"}]
    last = groups(machine, ["alice", "bob"], state="absent")
    assert (last["remove"], last["leave"]) == ([], [{"user": "alice", "group": "team"}])
