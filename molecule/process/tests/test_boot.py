"""What brings the proxy back when its host was down."""

from host_support import hosts_of, wait_until
from process_support import Instance, crontab, restart_host
from testinfra.host import Host

testinfra_hosts = hosts_of("litellm_proxy")


def test_cron_starts_it_at_boot(host: Host, proxy: Instance) -> None:
    assert crontab(host) == [f"@reboot {proxy.home}/supervisor/start"]


def test_the_entry_starts_a_stopped_supervisor_and_leaves_a_running_one_alone(host: Host, proxy: Instance) -> None:
    command = crontab(host)[0].removeprefix("@reboot ")
    proxy.supervisorctl("shutdown")
    wait_until(lambda: proxy.supervisor_pid() == 0)
    assert proxy.pids() == []
    proxy.as_user(command)
    wait_until(proxy.alive)
    before = (proxy.supervisor_pid(), proxy.main_pid())
    proxy.as_user(command)
    assert (proxy.supervisor_pid(), proxy.main_pid()) == before


def test_a_start_ends_what_outlived_a_killed_supervisor(host: Host, proxy: Instance) -> None:
    before = proxy.main_pid()
    host.check_output(f"kill -9 {proxy.supervisor_pid()}")
    wait_until(lambda: proxy.supervisor_pid() == 0)
    assert proxy.pids() == [before]
    proxy.as_user(f"{proxy.home}/supervisor/start")
    wait_until(proxy.alive)
    assert proxy.main_pid() not in (0, before)


def test_comes_back_after_a_reboot(host: Host, proxy: Instance) -> None:
    restart_host(host.backend.get_pytest_id().removeprefix("docker://"))
    wait_until(lambda: host.run("hostname -I").stdout.strip())
    # its address may be another one
    returned = Instance(host)
    wait_until(returned.alive, 120)
    assert returned.chat().status_code == 200
