"""A workstation on which people's own programs are installed, each run in a clean environment."""

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clients_support import CLIENT_KEYS
from host_support import PORT, hosts_of

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

SDKS = {
    "openai-python": ("python", f"{PROGRAMS}/openai_sdk.py"),
    "openai-typescript": ("tsx", f"{PROGRAMS}/openai_sdk.ts"),
    "anthropic-python": ("python", f"{PROGRAMS}/anthropic_sdk.py"),
}
"""The programs that try an SDK's features."""

Done = subprocess.CompletedProcess[str]


@dataclass
class Workstation:
    """Runs programs as its user, each in a home directory of its own and with no environment but what it needs.

    Attributes:
        scheme: how the proxy is spoken to, http or https.
        key: what the clients send; empty: each its own.
        bare: whether they are told nothing by the environment, but what a login finds on the workstation.
    """

    scheme: str = "http"
    key: str = ""
    bare: bool = False

    @property
    def url(self) -> str:
        """The proxy's address without a path."""
        return f"{self.scheme}://{NAME}:{PORT}"

    def environment(self, client: str) -> dict[str, str]:
        """What a client is told: address, key, whom to trust."""
        key = self.key or CLIENT_KEYS[client]
        system = {"PATH": PATH, "LANG": "C.UTF-8", "USER": "dev"}
        if self.bare:
            return system
        trust = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE")
        return {
            **system,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": key,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_AUTH_TOKEN": key,
            **(dict.fromkeys(trust, CA) if self.scheme == "https" else {}),
            **QUIET,
        }

    def run(self, script: str, client: str = "others", seconds: int = 60) -> Done:
        """Run a shell script as a client, below a new home; it is ended after so many seconds."""
        (backend,) = hosts_of("workstation")
        # a login sets a PATH of its own
        begin = f'cd "$(mktemp -d /home/dev/run.XXXXXX)" && mkdir work && export HOME="$PWD" PATH={PATH} && cd work'
        inside = f"{begin}\n{script}"
        settings = [f"{name}={value}" for name, value in self.environment(client).items()]
        return subprocess.run(
            [
                *("docker", "exec", "--user", "dev", backend.removeprefix("docker://")),
                *(
                    "env",
                    "-i",
                    *settings,
                    "timeout",
                    "--kill-after=5",
                    str(seconds),
                    "bash",
                    *(["--login"] if self.bare else []),
                    "-c",
                    inside,
                ),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            check=False,
        )

    def features(self, client: str, names: Sequence[str] = (), seconds: int = 150) -> dict[str, Any]:
        """What an SDK's program saw, by feature."""
        done = self.run(shlex.join([*SDKS[client], *names]), client, seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    def claude(self, prompt: str, *options: str, seconds: int = 60, prepare: str = "") -> Done:
        """Ask Claude Code."""
        command = shlex.join(["claude", "--print", prompt, *options])
        return self.run(f"{prepare}\n{command} </dev/null", "claude-code", seconds)

    def codex(self, prompt: str, *options: str, model: str = "glm-pool", seconds: int = 60, prepare: str = "") -> Done:
        """Ask Codex CLI, which prints its events as JSON."""
        settings = shlex.quote(CODEX.format(url=self.url))
        command = shlex.join(
            [
                *("codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access"),
                *("--model", model, *options, "--", prompt),
            ]
        )
        own = "" if self.bare else f'mkdir "$HOME/.codex"\nprintf %s {settings} >"$HOME/.codex/config.toml"'
        return self.run(f"{own}\n{prepare}\n{command} </dev/null", "codex", seconds)


def events(done: Done) -> list[dict[str, Any]]:
    """The JSON objects that a program has printed, one a line."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
