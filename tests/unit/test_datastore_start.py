"""What starts the store: the role's settings come first, and what the service noted of the cluster is kept."""

import subprocess
from pathlib import Path

import pytest
from store_hosts import templates


class Host:
    """A directory in the place of the host's, with a redis-server that only prints its arguments."""

    def __init__(self, directory: Path, watched: bool) -> None:
        self.config, self.state = directory / "etc", directory / "lib"
        programs = directory / "bin"
        for made in (self.config, self.state, programs):
            made.mkdir()
        (programs / "redis-server").write_text('#!/bin/sh\necho "$@"\n')
        (programs / "redis-server").chmod(0o755)
        self._script = (
            templates()
            .get_template("start.j2")
            .render(
                ansible_managed="Ansible managed",
                __litellm_datastore_config_dir=str(self.config),
                __litellm_datastore_state_dir=str(self.state),
                __litellm_datastore_watched=watched,
                __litellm_datastore_quorum=2,
                litellm_datastore_name="pool",
                litellm_datastore_port=7000,
                litellm_datastore_sentinel_port=26379,
            )
        )
        self._path = f"{programs}:/usr/bin:/bin"

    def start(self, kind: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", self._script, "start", kind],
            env={"PATH": self._path},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, watched=True)


def test_a_replica_comes_back_with_new_settings_and_the_master_that_it_knows(host: Host) -> None:
    (host.config / "redis.conf").write_text("port 7000\nrequirepass new\n")
    (host.state / "redis.conf").write_text("replicaof 10.0.0.3 7000\nport 6379\nrequirepass old\nmasterauth old\n")
    done = host.start("redis")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{host.state}/redis.conf --supervised systemd --daemonize no\n"
    assert (host.state / "redis.conf").read_text() == "replicaof 10.0.0.3 7000\nport 7000\nrequirepass new\n"
    assert (host.state / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert (host.state / "redis.started").exists()


def test_a_sentinel_keeps_what_it_learnt_and_takes_the_rest_from_the_role(host: Host) -> None:
    (host.config / "sentinel.conf").write_text("port 26379\nsentinel auth-pass pool new\n")
    learnt = "sentinel known-replica pool 10.0.0.2 7000\nsentinel current-epoch 4\n"
    (host.state / "sentinel.conf").write_text(
        f"port 1\nsentinel auth-pass pool old\n{learnt}sentinel monitor pool 10.0.0.3 7000 2\nuser default on #hash\n"
    )
    done = host.start("sentinel")
    assert done.stdout == f"{host.state}/sentinel.conf --sentinel --supervised systemd --daemonize no\n"
    assert (host.state / "sentinel.conf").read_text() == (
        f"sentinel monitor pool 10.0.0.3 7000 2\nport 26379\nsentinel auth-pass pool new\n{learnt}"
    )


def test_what_was_noted_of_another_name_and_other_ports_goes_on_under_those_of_now(host: Host) -> None:
    (host.config / "redis.conf").write_text("port 7000\n")
    (host.state / "redis.conf").write_text("replicaof 10.0.0.3 6379\nport 6379\n")
    assert host.start("redis").returncode == 0
    assert (host.state / "redis.conf").read_text() == "replicaof 10.0.0.3 7000\nport 7000\n"
    (host.config / "sentinel.conf").write_text("port 26379\nsentinel auth-pass pool new\n")
    (host.state / "sentinel.conf").write_text(
        "sentinel known-replica old 10.0.0.2 6379\n"
        "sentinel known-sentinel old 10.0.0.2 26379 abc\n"
        "sentinel known-sentinel old 10.0.0.1 26380 def\n"
        "sentinel config-epoch old 3\n"
        "sentinel leader-epoch old 3\n"
        "sentinel current-epoch 4\n"
        "sentinel monitor old 10.0.0.3 6379 2\n"
        "sentinel config-epoch another 9\n"
    )
    assert host.start("sentinel").returncode == 0
    assert (host.state / "sentinel.conf").read_text() == (
        "sentinel monitor pool 10.0.0.3 7000 2\n"
        "port 26379\nsentinel auth-pass pool new\n"
        "sentinel known-sentinel pool 10.0.0.2 26379 abc\n"
        "sentinel config-epoch pool 3\n"
        "sentinel leader-epoch pool 3\n"
        "sentinel current-epoch 4\n"
    )


def test_a_sentinel_without_a_master_is_not_given_the_password_to_print(host: Host) -> None:
    (host.config / "sentinel.conf").write_text("sentinel auth-pass pool secret\n")
    (host.state / "sentinel.conf").write_text("")
    done = host.start("sentinel")
    assert done.returncode == 1
    assert "does not say who the master is: remove it, and run playbooks/datastore.yml" in done.stderr
    assert (host.state / "sentinel.conf").read_text() == ""


def test_a_host_that_lost_what_it_knew_does_not_begin_as_a_master(host: Host) -> None:
    (host.config / "redis.conf").write_text("port 7000\n")
    done = host.start("redis")
    assert done.returncode == 1
    assert "run playbooks/datastore.yml" in done.stderr
    assert not (host.state / "redis.conf").exists()


def test_a_host_that_goes_on_alone_follows_nobody(tmp_path: Path) -> None:
    alone = Host(tmp_path, watched=False)
    (alone.config / "redis.conf").write_text("port 7000\n")
    (alone.state / "redis.conf").write_text("replicaof 10.0.0.3 7000\n")
    assert alone.start("redis").returncode == 0
    assert (alone.state / "redis.conf").read_text() == "port 7000\n"


@pytest.mark.parametrize("broken", ["cat", "awk"])
def test_a_full_disk_does_not_cost_what_was_noted(host: Host, broken: str) -> None:
    (host.config / "sentinel.conf").write_text("port 26379\n")
    noted = "sentinel monitor pool 10.0.0.3 6379 2\nsentinel known-replica pool 10.0.0.2 6379\n"
    (host.state / "sentinel.conf").write_text(noted)
    fails = host.config.parent / "bin" / broken
    fails.write_text("#!/bin/sh\necho 'write error: No space left on device' >&2\nexit 2\n")
    fails.chmod(0o755)
    done = host.start("sentinel")
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert (host.state / "sentinel.conf").read_text() == noted
