"""An instance of `process` mode on a test host, as the user who runs it sees it."""

import os
import subprocess
from pathlib import PurePosixPath

from host_support import PORT, Proxy, address_of
from testinfra.host import Host

USER = "dev"
SHARE = PurePosixPath("/home/dev/.local/share")

COMMAND = f"/home/{USER}/.local/bin/litellm-proxyctl"


class Instance(Proxy):
    """The instance of one port. `host` is spoken to as root, who sees what every user does."""

    def __init__(self, host: Host, port: int = PORT) -> None:
        super().__init__(host)
        self.port = port
        self.url = f"http://{address_of(host)}:{port}"
        self.home = str(SHARE / ("litellm-proxy" if port == PORT else f"litellm-proxy-{port}"))
        self.log = f"{self.home}/litellm-proxy.log"

    def as_user(self, command: str) -> str:
        """Output of a shell command in an empty environment, as cron gives one to the user's jobs."""
        return str(
            self.host.check_output(
                f"runuser -u {USER} -- env -i HOME=/home/{USER} LOGNAME={USER} PATH=/usr/bin:/bin /bin/sh -c %s",
                command,
            )
        )

    def supervisorctl(self, command: str) -> str:
        """Output of the supervisor's own client."""
        return self.as_user(
            f"{self.home}/venvs/supervisor/bin/supervisorctl -c {self.home}/supervisor/supervisord.conf {command}"
        )

    def proxyctl(self, command: str) -> str:
        """Output of litellm-proxyctl for this instance."""
        return self.as_user(f"LITELLM_PORT={self.port} {COMMAND} {command}")

    # the brackets keep pgrep from finding the shell that it is run by
    def supervisor_pid(self) -> int:
        """Process of the supervisor; 0 where none runs."""
        found = self.host.run(f"pgrep -f -- '[s]upervisord -c {self.home}/supervisor/supervisord.conf'").stdout
        return int(found or 0)

    def pids(self) -> list[int]:
        """The processes that are instances of this home."""
        found = self.host.run(f"pgrep -f -- '-m [g]lm_pool.launch --config {self.home}/'").stdout
        return [int(pid) for pid in found.split()]

    def main_pid(self) -> int:
        """The one process that serves; 0 while there is none."""
        found = self.pids()
        return found[0] if len(found) == 1 else 0

    def generation(self) -> str:
        """Name of the generation that serves."""
        return str(self.host.check_output(f"basename $(readlink {self.home}/config/current)"))


def crontab(host: Host) -> list[str]:
    """Lines of the user's crontab that run something."""
    lines = host.run(f"crontab -u {USER} -l").stdout.splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def restart_host(name: str) -> None:
    """Shut a test host down and start it again, as a reboot does."""
    subprocess.run(["docker", "restart", "--time", "30", name], env=dict(os.environ), capture_output=True, check=True)
