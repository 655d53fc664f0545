"""A gateway that is removed waits for its answers, for as long as it may."""

import sys
from pathlib import Path

import pytest
import yaml
from role_settings import ROOT

from tests.plays.playing import play

# as systemd does with the last process
ENDS = "#!/bin/sh\nrmdir {directory}/run\n"
GOES_ON = "#!/bin/sh\n"
OLD = "#!/bin/sh\nexit 64\n"


@pytest.mark.parametrize(
    ("control", "seconds", "cut"),
    [(ENDS, 3000, False), (GOES_ON, 1, True), (OLD, 3000, False), (GOES_ON, 0, False)],
    ids=["ends", "goes-on", "older-role", "at-once"],
)
def test_answers_get_their_time(tmp_path: Path, control: str, seconds: int, cut: bool) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "control").write_text(control.format(directory=tmp_path))
    (tmp_path / "control").chmod(0o755)
    role = {"name": "litellm_gateway", "tasks_from": "retire.yml", "rolespec_validate": False}
    given = {
        "ansible_python_interpreter": sys.executable,
        "__litellm_gateway_control": str(tmp_path / "control"),
        "__litellm_gateway_runtime_dir": str(tmp_path / "run"),
        "litellm_proxy_drain_timeout": seconds,
    }
    tasks = [{"ansible.builtin.include_role": role}]
    (tmp_path / "known.yml").write_text(yaml.safe_dump(given))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    arguments = ("-i", "localhost,", "-c", "local", "-e", "@known.yml", "play.yml")
    status, said = play(*arguments, directory=tmp_path, environment={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
    assert (status, "answers ran for longer than" in said) == (0, cut), said
