"""How many hosts the playbooks change at the same time."""

import pytest
from litellm_proxy_serial import serial_faults


@pytest.mark.parametrize("serial", [1, 3, "2", "100%", "25%", [1, "50%"], [1, 2, "100%"]])
def test_batches_of_hosts(serial: object) -> None:
    assert serial_faults(serial) == []


@pytest.mark.parametrize("serial", [0, -1, "0%", "", "all", "1,2", '[1,"50%"]', "50 %", [], [1, 0], [[1]], None, 1.5])
def test_what_ansible_would_take_for_all_hosts_or_stumble_over_is_refused(serial: object) -> None:
    (fault,) = serial_faults(serial)
    assert fault.startswith(f"litellm_proxy_serial is {serial!r}: use a number of hosts")
