"""Each program has a key of its own, and the proxy's account has it by name."""

import json

from clients_support import CLIENT_KEYS
from host_support import hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")

SUMS = """
import json, sqlite3
ledger = sqlite3.connect("file:/var/lib/litellm-proxy/usage.sqlite3?mode=ro", uri=True)
print(json.dumps(ledger.execute("SELECT client, SUM(requests), SUM(output) FROM usage GROUP BY client").fetchall()))
"""


def test_the_account_has_every_client(host: Host) -> None:
    used = {
        client: (requests, output) for client, requests, output in json.loads(host.check_output("python3 -c %s", SUMS))
    }
    assert CLIENT_KEYS.keys() <= used.keys()
    assert all(used[client][0] > 0 and used[client][1] > 0 for client in CLIENT_KEYS)
