"""The page of the repository says what the tests saw."""

import subprocess
import sys

from clients_support import RESULTS
from host_support import REPOSITORY


def test_the_page_is_what_the_results_say() -> None:
    command = [sys.executable, "scripts/compatibility.py", "--check", str(RESULTS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
