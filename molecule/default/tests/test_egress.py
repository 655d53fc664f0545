"""The proxy speaks to its upstream and to nobody else."""

import json

from host_support import Proxy, address_of, hosts_of, simulator_host, wait_until
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")

TABLE = "inet test_egress"


def foreign_packets(host: Host) -> int:
    rules = json.loads(host.check_output(f"nft --json list table {TABLE}"))["nftables"]
    (count,) = (e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)
    return int(count)


def test_no_connection_leaves_but_to_the_upstream(host: Host, proxy: Proxy) -> None:
    """Counted in the kernel through a whole start and requests of both APIs, look-ups of names included."""
    user = host.user("litellm-proxy").uid
    host.check_output(
        f"nft 'add table {TABLE}; "
        f"add chain {TABLE} out {{ type filter hook output priority 0; }}; "
        f"add rule {TABLE} out meta skuid {user} ct state new oif != lo "
        f"ip daddr != {address_of(simulator_host())} counter'"
    )
    try:
        proxy.restart()
        wait_until(proxy.alive)
        assert proxy.chat().status_code == 200
        assert proxy.message().status_code == 200
        assert foreign_packets(host) == 0
        # the counter does see what this user sends elsewhere
        host.run("runuser -u litellm-proxy -- curl -s -m 1 http://192.0.2.1/")
        assert foreign_packets(host) > 0
    finally:
        host.check_output(f"nft delete table {TABLE}")
