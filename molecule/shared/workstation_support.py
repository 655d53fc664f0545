"""A workstation on which people's own programs are installed, each run in a clean environment."""

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from host_support import MASTER_KEY, PORT, hosts_of

NAME = "llm.example.com"
"""What the proxy's certificate is for, and how the workstation finds it."""
PROGRAMS = "/opt/clients/programs"
CA = "/opt/clients/ca.crt"
PATH = "/opt/clients/venv/bin:/opt/clients/node_modules/.bin:/usr/bin:/bin"

QUIET = {
    # one try, so that nothing is hidden, and nobody else is spoken to
    "CLAUDE_CODE_MAX_RETRIES": "0",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
CODEX = """\
model_provider = "pool"
[model_providers.pool]
name = "pool"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""

Done = subprocess.CompletedProcess[str]


@dataclass
class Workstation:
    """Runs programs as its user, each in a home directory of its own and with no environment but what it needs.

    Attributes:
        scheme: how the proxy is spoken to, http or https.
        key: what the clients send.
        more: further environment.
    """

    scheme: str = "http"
    key: str = MASTER_KEY
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The proxy's address without a path."""
        return f"{self.scheme}://{NAME}:{PORT}"

    def environment(self) -> dict[str, str]:
        """What every client is told: address, key, whom to trust."""
        trust = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE")
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "USER": "dev",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": self.key,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_AUTH_TOKEN": self.key,
            **(dict.fromkeys(trust, CA) if self.scheme == "https" else {}),
            **QUIET,
            **self.more,
        }

    def run(self, script: str, seconds: int = 60) -> Done:
        """Run a shell script in an empty directory below a new home; it is ended after so many seconds."""
        (backend,) = hosts_of("workstation")
        inside = f'cd "$(mktemp -d /home/dev/run.XXXXXX)" && mkdir work && export HOME="$PWD" && cd work\n{script}'
        settings = [f"{name}={value}" for name, value in self.environment().items()]
        return subprocess.run(
            [
                *("docker", "exec", "--user", "dev", backend.removeprefix("docker://")),
                *("env", "-i", *settings, "timeout", "--kill-after=5", str(seconds), "bash", "-c", inside),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            check=False,
        )

    def features(self, command: str, names: Sequence[str] = (), seconds: int = 150) -> dict[str, Any]:
        """What one of the programs/ saw, by feature."""
        done = self.run(shlex.join([*command.split(), *names]), seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    def claude(self, prompt: str, *options: str, seconds: int = 60, prepare: str = "") -> Done:
        """Ask Claude Code."""
        command = shlex.join(["claude", "--print", prompt, *options])
        return self.run(f"{prepare}\n{command} </dev/null", seconds)

    def codex(self, prompt: str, *options: str, model: str = "glm-pool", seconds: int = 60, prepare: str = "") -> Done:
        """Ask Codex CLI, which prints its events as JSON."""
        settings = shlex.quote(CODEX.format(url=self.url))
        command = shlex.join(
            [
                *("codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access"),
                *("--model", model, *options, "--", prompt),
            ]
        )
        return self.run(
            f'mkdir "$HOME/.codex"\nprintf %s {settings} >"$HOME/.codex/config.toml"\n{prepare}\n{command} </dev/null',
            seconds,
        )


def events(done: Done) -> list[dict[str, Any]]:
    """The JSON objects that a program has printed, one a line."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
