"""Which servers a gateway has elsewhere than the inventory says."""

import hashlib
from pathlib import Path
from typing import Any

import litellm_gateway_moved as moved
import pytest

CONFIG = """
backend litellm_proxy
    balance leastconn
    server plain 10.0.0.21:4000 check
    server six fd00::21:4000 check
    server tls 10.0.0.22:4000 check ssl verify required ca-file {ca} sni str(b) check-sni b verifyhost b
backend any_host
    server plain 10.9.9.9:1
"""
PLAIN = {"name": "plain", "address": "10.0.0.21", "port": 4000}
SIX = {"name": "six", "address": "fd00::21", "port": "4000"}
TLS = {"name": "tls", "address": "10.0.0.22", "port": 4000, "tls": True, "tls_name": "b"}


class Ended(Exception):
    """Ends the module in place of the process."""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    config, ca, loaded = tmp_path / "haproxy.cfg", tmp_path / "ca.pem", tmp_path / "loaded"
    config.write_text(CONFIG.format(ca=ca))
    ca.write_text("AUTHORITY\n")
    loaded.write_text(hashlib.sha256(config.read_bytes()).hexdigest())

    def answer(server: dict[str, Any], authority: str = "AUTHORITY", is_loaded: bool = True) -> list[str]:
        class Module:
            def __init__(self, **_: object) -> None:
                self.params = {
                    "config": str(config), "backend": "litellm_proxy", "servers": [server], "ca": authority,
                    "ca_file": str(ca), "loaded": str(loaded if is_loaded else tmp_path / "none"),
                    "content": [str(config)],
                }  # fmt: skip

            def exit_json(self, **result: object) -> None:
                raise Ended(result)

        monkeypatch.setattr(moved, "AnsibleModule", Module)
        with pytest.raises(Ended) as ended:
            moved.main()
        found: list[str] = ended.value.args[0]["moved"]
        return found

    return answer


@pytest.mark.parametrize("server", [PLAIN, SIX, TLS, {"name": "new", "address": "10.0.0.29", "port": 1}])
def test_a_server_that_is_where_the_gateway_has_it(ask: Any, server: dict[str, Any]) -> None:
    assert ask(server) == []


@pytest.mark.parametrize(
    "server",
    [
        PLAIN | {"address": "10.0.0.99"},
        PLAIN | {"port": 4100},
        PLAIN | {"tls": True, "tls_name": "a"},
        TLS | {"tls_name": "c"},
        {"name": "tls", "address": "10.0.0.22", "port": 4000},
    ],
)
def test_a_server_that_is_elsewhere(ask: Any, server: dict[str, Any]) -> None:
    assert ask(server) == [server["name"]]


@pytest.mark.parametrize("authority", ["ANOTHER", ""])
def test_another_authority_is_needed_by_tls_alone(ask: Any, authority: str) -> None:
    assert ask(TLS, authority) == ["tls"]
    assert ask(PLAIN, authority) == []


def test_a_config_that_is_not_loaded_says_nothing(ask: Any) -> None:
    assert ask(PLAIN, is_loaded=False) == ["plain"]
