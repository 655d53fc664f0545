"""Runs ansible-playbook as a user does."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from role_settings import ROOT


def play(*words: str | Path, directory: Path = ROOT, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Its exit status and what it said, on one line; the developer's own settings do not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        ["ansible-playbook", *words], cwd=directory, env=kept | dict(environment or {}),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())
