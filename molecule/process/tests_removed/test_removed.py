"""After playbooks/remove.yml nothing of the proxy is left to its user."""

from host_support import PORT, SECRETS, hosts_of
from process_support import SHARE, USER
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_nothing_runs_or_listens(host: Host) -> None:
    assert not host.socket(f"tcp://{PORT}").is_listening
    assert host.run(f"pgrep -u {USER} -a").stdout == ""


def test_no_file_is_left(host: Host) -> None:
    assert host.run(f"ls -A {SHARE}").stdout == ""
    assert host.run("find / -xdev -user dev -name '*litellm*'").stdout == ""


def test_no_crontab_is_left(host: Host) -> None:
    assert host.run(f"crontab -u {USER} -l").stderr == f"no crontab for {USER}\n"


def test_no_secret_is_left(host: Host) -> None:
    for secret in SECRETS:
        assert host.run("grep -rlIsF -e %s /etc /home /tmp /var", secret).stdout == ""
