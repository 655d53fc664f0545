"""The programs speak to the proxy and to nobody else."""

import json

from host_support import hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("workstation")


def refused(host: Host) -> int:
    """Packets of the programs' user that were for elsewhere."""
    rules = json.loads(host.check_output("nft --json list table inet clients"))["nftables"]
    (count,) = (e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)
    return int(count)


def test_no_program_has_tried_to_reach_anybody_else(host: Host) -> None:
    elsewhere = host.check_output("nft list set inet clients elsewhere")
    assert refused(host) == 0, elsewhere
    # the counter does see what this user sends elsewhere
    host.run("runuser -u dev -- curl -s -m 1 http://192.0.2.1/")
    assert refused(host) > 0
