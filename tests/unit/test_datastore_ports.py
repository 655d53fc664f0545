"""A port that another process holds is named before the host is changed, with the process; the store's own is free."""

from litellm_datastore_ports import FilterModule, taken

PORTS: dict[str, int | str] = {"litellm_datastore_port": 6379, "litellm_datastore_sentinel_port": "26379"}


def line(place: str, process: str = 'users:(("redis-server",pid=77,fd=6))') -> str:
    return f"LISTEN 0      511    {place}      0.0.0.0:*    {process}\n"


def test_the_port_the_process_the_variable_and_the_way_out_are_said() -> None:
    assert FilterModule().filters()["litellm_datastore_taken"](line("0.0.0.0:6379"), PORTS, "10.0.0.1", []) == [
        "port 6379 is taken by redis-server (pid 77) on 0.0.0.0: set litellm_datastore_port to a free one, or stop "
        "what listens there."
    ]


def test_every_place_where_the_store_would_listen_counts_once() -> None:
    for place in ("127.0.0.1", "10.0.0.1", "10.0.0.1%eth0", "*", "[::]"):
        assert len(taken(line(f"{place}:26379") * 2, PORTS, "10.0.0.1", [])) == 1
    assert "sentinel_port" in taken(line("[fd00::1]:26379"), PORTS, "fd00::1", [])[0]


def test_other_ports_other_addresses_and_the_stores_own_processes_are_no_fault() -> None:
    free = line("0.0.0.0:63790") + line("10.0.0.2:6379") + line("127.0.0.2:6379") + line("10.0.0.1:6380")
    assert taken(free, PORTS, "10.0.0.1", ["0"]) == []
    assert taken(line("10.0.0.1:6379"), PORTS, "10.0.0.1", ["77", "0"]) == []


def test_a_process_that_the_system_does_not_name_is_still_in_the_way() -> None:
    assert "an unknown process" in taken(line("*:6379", ""), PORTS, "10.0.0.1", [])[0]
