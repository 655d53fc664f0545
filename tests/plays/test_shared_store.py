"""After a deploy: a proxy that does not reach the Redis it should share limits by says so, and the run goes on."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.plays.playing import play
from tests.serving import QuietHandler, serving

TASKS = """
- name: Look at the proxy
  hosts: all
  gather_facts: false
  tasks:
    - name: See that limits are shared
      ansible.builtin.import_role: {name: litellm_proxy, tasks_from: shared_store.yml, rolespec_validate: false}
"""


@contextmanager
def proxy(*answers: tuple[int, dict[str, Any]]) -> Iterator[str]:
    """The URL of a proxy that gives these answers one after the other, and the last one from then on."""
    left = list(answers)

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, content = left.pop(0) if len(left) > 1 else left[0]
            assert self.path == "/pool/status"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

    with serving(Handler) as url:
        yield url


HERE: tuple[int, dict[str, Any]] = (200, {"keys": [], "shared": {"connected": True}})
AWAY: tuple[int, dict[str, Any]] = (200, {"keys": [], "shared": {"connected": False}})


@pytest.mark.parametrize(
    ("answers", "warns"),
    [([HERE], False), ([AWAY, AWAY, HERE], False), ([AWAY], True), ([(404, {})], False)],
    ids=["reaches it", "soon does", "does not", "has no pool"],
)
def test_a_proxy_that_does_not_reach_redis_says_so(
    tmp_path: Path, answers: list[tuple[int, dict[str, Any]]], warns: bool
) -> None:
    with proxy(*answers) as url:
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"proxy-1": None}}}))
        (tmp_path / "play.yml").write_text(TASKS)
        values = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "litellm_proxy_master_key": "sk-1846",
            "__litellm_proxy_url": url,
        }
        status, said = play("-i", tmp_path / "hosts.json", tmp_path / "play.yml", "-e", json.dumps(values))
    assert status == 0, said
    assert ("WARNING: proxy-1 does not reach the Redis of litellm_proxy_redis_url" in said) == warns, said
