"""The command line as a user sees it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sim_client import GENERAL_KEY, call, request_for

from zai_simulator.testing import ControlClient, running_simulator

ROOT = Path(__file__).parents[2]
TABLE = f"""
accounts:
  team: {{max_parallel_requests: 2}}
keys:
  - {{name: one, key: {GENERAL_KEY}, account: team}}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "zai_simulator", *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"zai-simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        yield process, found.group(1)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_logs_no_key(tmp_path: Path, number: signal.Signals) -> None:
    config, pid_file = tmp_path / "zai.yaml", tmp_path / "zai.pid"
    config.write_text(TABLE)
    options = ("--config", str(config), "--port", "0", "--pid-file", str(pid_file), "--log-level", "debug")
    with running(*options) as (process, url):
        assert pid_file.read_text() == f"{process.pid}\n"
        path, headers, body = request_for("general")
        assert call(url + path, headers, body).status == 200
        assert ControlClient(url).stats()["keys"]["one"]["answers"] == 1
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    assert "key=one" in err
    assert GENERAL_KEY not in err
    assert not pid_file.exists()


def failing(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_taken_port_ends_it_with_1(tmp_path: Path) -> None:
    config = tmp_path / "zai.yaml"
    config.write_text(TABLE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, err = failing("--config", str(config), "--port", port)
    assert status == 1
    assert f"127.0.0.1:{port}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.yaml", "keys: [{name: a, key: 1234567890, account: nosuch}]", "keys.a.key"),
        ("a.yaml", "keys: [{name: a, key: abcdefghij, account: nosuch}]", "keys.a.account"),
        ("a.yaml", "accounts: {t: {rpm: many}}", "accounts.t.rpm"),
        ("a.yaml", "accounts: {t: {quota: {requests: 1, window: 5, code: 1302}}}", "accounts.t.quota.code"),
        ("a.yaml", "accounts: {t: {fault: {stage: open}}}", "accounts.t.fault.stage"),
        ("a.yaml", "[1]", "config"),
        ("a.yaml", "surprise: 1", "surprise"),
        ("a.yaml", "keys: [", "not YAML: line"),
        ("a.json", "{", "not JSON: line 1"),
    ],
)
def test_a_bad_table_ends_it_with_2_and_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, named: str
) -> None:
    from zai_simulator.cli import main

    config = tmp_path / name
    config.write_text(text)
    assert main(["--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert named in err
    assert err.count("\n") == 1


def test_a_missing_table_ends_the_command_with_2(tmp_path: Path) -> None:
    status, err = failing("--config", str(tmp_path / "nosuch.yaml"))
    assert status == 2
    assert "nosuch.yaml" in err


def test_a_json_table_and_a_path_are_taken_by_the_test_helper(tmp_path: Path) -> None:
    config = tmp_path / "zai.json"
    config.write_text(json.dumps({"accounts": {"t": None}, "keys": []}))
    with running_simulator(config) as simulator:
        assert simulator.control.health() == {"status": "ok"}
