"""From a client's request to the page: what the simulated Z.AI counted is what the report says."""

from pathlib import Path

import pytest
from browser import Browser
from page_numbers import READ_TABLES, numbers
from usage_hosts import install, report

from tests.pool.pool_client import APIS, PoolClient
from tests.pool.pool_server import Key, running_rig

KEYS = (Key("team-a", "alpha", slots=4), Key("team-b", "beta", slots=4))
CLIENTS = [{"name": name, "key": f"sk-{name}-0123456789abcdefghijklmnop"} for name in ("alice", "bob")]


@pytest.mark.parametrize("strategy", ["round-robin", "simple-shuffle"])
def test_the_page_has_the_upstreams_numbers(browser: Browser, tmp_path: Path, strategy: str) -> None:
    settings = {"client_keys": CLIENTS, "master_key_answers": False, "prices": {"glm-5.3": {"input": 2, "output": 8}}}
    with running_rig(tmp_path / "proxy", KEYS, routing_strategy=strategy, warm=False, **settings) as rig:
        for number, client in enumerate(CLIENTS, 1):
            caller = PoolClient(rig.client.url, client["key"])
            for api in APIS:
                for stream in (False, True):
                    for _ in range(number):
                        assert caller.ask(api, stream=stream, text=f"tell me more of {api} " * 9).status == 200
        counted = rig.control.stats()["keys"]
        home = tmp_path / "host"
        host = install(home, None)
        (home / "state").symlink_to(rig.server.usage_file.parent)
        code, output = report(tmp_path, {"proxy-1": host})
    assert code == 0, output
    (page,) = (tmp_path / "report").glob("*.html")
    browser.open(page, 1280, "light")
    tables = browser.ask(READ_TABLES)
    by_key = {name: numbers(cells) for name, cells in tables["by-key"].items()}
    assert set(by_key) == {"team-a", "team-b", "total"}
    for name, seen in counted.items():
        shown = by_key[name]
        assert shown["requests"] == seen["answers"] > 0
        assert {kind: shown[kind] for kind in ("input", "cached", "output")} == seen["tokens"]
    read = sum(seen["tokens"]["input"] + seen["tokens"]["cached"] for seen in counted.values())
    written = sum(seen["tokens"]["output"] for seen in counted.values())
    assert by_key["total"]["cost"] == pytest.approx((2 * read + 8 * written) / 1e6, abs=0.0001)
    by_client = {name: numbers(cells)["requests"] for name, cells in tables["by-client"].items()}
    assert by_client == {"alice": 4.0, "bob": 8.0, "total": 12.0}
