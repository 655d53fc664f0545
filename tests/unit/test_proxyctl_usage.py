"""litellm-proxyctl usage: sums of the ledger for a period, whether or not the proxy runs."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from proxyctl_stage import Stage
from role_settings import ROLE
from usage_ledger import Used, connect, write

from glm_pool.ledger import Ledger as PluginLedger
from glm_pool.ledger import Use
from glm_pool.tokens import Tokens
from proxyctl.exits import Exit, Failure
from proxyctl.ledger import Ledger

NOVEMBER = ("--from", "2026-11-01", "--to", "2026-11-30")
ROWS = [
    Used("2026-10-31 23:00", requests=1000),
    Used("2026-11-01 00:00", requests=3, failed=1),
    Used("2026-11-23 09:00", client="bob", requests=1200, input=1_500_000, cost=2.25),
    Used("2026-11-23 10:00", client="bob", key="team-b", requests=2, cost=0.25),
    Used("2026-11-23 10:00", client="master", key="", pool="", failed=1, input=0, cached=0, output=0, cost=0),
    Used("2026-11-30 23:00", client="bob", key="team-b", requests=1, cost=1),
    Used("2026-12-01 00:00", requests=1000),
]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nothing runs on it."""
    return Stage(tmp_path, monkeypatch)


@pytest.fixture
def ledger(stage: Stage) -> Path:
    return write(stage.directory / "state" / "usage.sqlite3", ROWS)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_table_by_client(stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("usage", *NOVEMBER) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-01 to 2026-11-30 (UTC), by client; shares are of the money",
        "CLIENT  REQUESTS  FAILED      INPUT  CACHED  OUTPUT     USD  OF USD",
        "bob        1,203       0  1,500,200      60      90  3.5000   87.5%",
        "alice          3       1        100      20      30  0.5000   12.5%",
        "master         1       1          0       0       0  0.0000    0.0%",
        "total      1,207       2  1,500,300      80     120  4.0000  100.0%",
    ]


def test_table_by_several_fields(stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("usage", *NOVEMBER, "--by", "day,key") == 0
    assert [" ".join(line.split()[:3]) for line in capsys.readouterr().out.splitlines()[2:]] == [
        "2026-11-01 team-a 3", "2026-11-23 (none) 1", "2026-11-23 team-a 1,200", "2026-11-23 team-b 2",
        "2026-11-30 team-b 1", "total 1,207 2",
    ]  # fmt: skip


def test_json_has_a_row_a_day_client_key_pool_and_model(
    stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.run("usage", *NOVEMBER, "--json") == 0
    assert document(capsys) == {
        "ok": True,
        "from": "2026-11-01",
        "to": "2026-11-30",
        "ledger": True,
        "rows": [row.row() for row in ROWS[1:6]],
    }


def test_hours_of_a_day_are_one_row(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    write(stage.directory / "state" / "usage.sqlite3", [Used("2026-11-02 00:00"), Used("2026-11-02 23:00")])
    assert stage.run("usage", *NOVEMBER, "--json") == 0
    assert document(capsys)["rows"] == [Used("2026-11-02", requests=2, input=200, cached=40, output=60, cost=1).row()]


def test_json_has_the_fields_that_are_asked_for(stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("usage", *NOVEMBER, "--by", "pool", "--json") == 0
    assert document(capsys)["rows"] == [
        {"pool": "glm-pool", "requests": 1206, "failed": 1, "input": 1500300, "cached": 80, "output": 120, "cost": 4},
        {"pool": "", "requests": 1, "failed": 1, "input": 0, "cached": 0, "output": 0, "cost": 0},
    ]


def test_period_without_usage_is_zero(stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("usage", "--from", "2026-09-01", "--to", "2026-09-01") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "0", "0", "0", "0", "0", "0.00", "-"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--from", "2026-11-31"), "--from '2026-11-31' is no day"),
        (("--to", "yesterday"), "--to 'yesterday' is no day: write it as 2026-11-30."),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "--from 2026-11-02 is after --to 2026-11-01: exchange them."),
        (("--days", "0"), "--days '0' is no number of days"),
        (("--days", "7", "--to", "2026-11-01"), "--days goes with neither --from nor --to"),
        (("--by", "client,team"), "--by 'team': usage is summed by day, client, key, pool, model, host."),
    ],
)
def test_wrong_usage(
    stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    assert stage.run("usage", *options) == Exit.USAGE
    assert told in capsys.readouterr().err


def test_no_ledger_yet(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.run("usage") == 0
    assert capsys.readouterr().out.startswith(f"There is no usage ledger at {stage.directory}/state/usage.sqlite3 yet")
    assert stage.run("usage", "--json") == 0
    found = document(capsys)
    assert (found["rows"], found["ledger"]) == ([], False)


def test_ledger_that_is_being_made_is_none_yet(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    (stage.directory / "state" / "usage.sqlite3").touch()
    assert stage.run("usage") == 0
    assert "There is no usage ledger" in capsys.readouterr().out


def test_ledger_of_a_newer_version_is_not_guessed_at(
    stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(stage.directory / "other.sqlite3") as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    shutil.copy(stage.directory / "other.sqlite3", ledger)
    assert stage.run("usage") == Exit.FAILED
    assert "was made by a newer version of the proxy (format 2, this command reads up to 1)" in capsys.readouterr().err


def test_damaged_ledger_is_told(stage: Stage, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.write_bytes(b"not a database" * 1000)
    assert stage.run("usage") == Exit.FAILED
    assert "usage.sqlite3 is damaged, or no usage ledger (file is not a database)" in capsys.readouterr().err


def test_what_a_running_proxy_wrote_last_is_seen(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    writer = connect(stage.directory / "state" / "usage.sqlite3", [Used("2026-11-02 00:00", requests=41)])
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE usage SET requests = 42")
        assert stage.run("usage", *NOVEMBER) == 0
        assert " 41 " in capsys.readouterr().out
        writer.execute("COMMIT")
        assert stage.run("usage", *NOVEMBER) == 0
        assert " 42 " in capsys.readouterr().out
    finally:
        writer.close()


def test_what_a_killed_proxy_wrote_last_is_seen(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    writer = connect(stage.directory / "other.sqlite3", [Used("2026-11-02 00:00", requests=42)])
    try:
        for name in ("other.sqlite3", "other.sqlite3-wal"):
            shutil.copy(stage.directory / name, stage.directory / "state" / name.replace("other", "usage"))
    finally:
        writer.close()
    assert stage.run("usage", *NOVEMBER) == 0
    assert " 42 " in capsys.readouterr().out


def test_reading_leaves_no_file_behind(stage: Stage, ledger: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ledger.parent.iterdir()}
    assert stage.run("usage", *NOVEMBER) == 0
    assert {path: path.stat().st_mtime_ns for path in ledger.parent.iterdir()} == before


def test_writer_that_comes_meanwhile_is_waited_for(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Ledger._read
    tried = []

    def slow(self: Ledger, begin: int, end: int, *, alone: bool) -> object:
        tried.append(alone)
        found = read(self, begin, end, alone=alone)
        if len(tried) == 1:
            write(ledger.with_name("new.sqlite3"), [Used("2026-11-02 00:00")]).replace(ledger)
        return found

    monkeypatch.setattr(Ledger, "_read", slow)
    rows = Ledger(ledger).rows("2026-11-01", "2026-11-30")
    assert rows == [Used("2026-11-02").row()]
    assert tried == [True, True]


def test_ledger_of_the_plug_in_is_read(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 11, 23, 10, 59, tzinfo=timezone.utc).timestamp()
    plugin = PluginLedger(stage.directory / "state" / "usage.sqlite3")
    plugin.add(Use(moment, "alice", "team-a", "glm-pool", "glm-5.3", tokens=Tokens(100, 20, 30), cost=0.5))
    plugin.add(Use(moment, "bob", failed=True))
    expected = [
        Used("2026-11-23").row(),
        Used("2026-11-23", "bob", "", "", "", failed=1, input=0, cached=0, output=0, cost=0).row(),
    ]
    assert stage.run("usage", *NOVEMBER, "--json") == 0
    assert document(capsys)["rows"] == expected
    plugin.close()
    assert stage.run("usage", *NOVEMBER, "--json") == 0
    assert document(capsys)["rows"] == expected


def test_who_may_read_it_is_told(stage: Stage, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "owner", lambda self: "litellm-proxy")
    with pytest.raises(Failure, match=r"only by root and litellm-proxy: run it with sudo\.") as caught:
        Ledger(ledger).rows("2026-11-01", "2026-11-30")
    assert caught.value.code is Exit.NO_PERMISSION


def test_it_needs_the_hosts_own_python_alone(stage: Stage, ledger: Path) -> None:
    package = stage.directory / "lib" / "proxyctl"
    shutil.copytree(ROLE / "files" / "proxyctl", package, ignore=shutil.ignore_patterns("__pycache__"))
    shared = [*ROLE.parent.glob("*/module_utils/*.py"), *(ROLE / "filter_plugins").glob("litellm_proxy_*.py")]
    for source in shared:
        shutil.copy(source, package)
    done = subprocess.run(
        [sys.executable, "-IB", str(package), "--settings", str(stage.settings), "usage", *NOVEMBER],
        capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,207" in done.stdout
