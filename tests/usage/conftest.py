"""The browser of all tests of the page."""

import shutil
from collections.abc import Iterator

import pytest
from browser import Browser, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no browser; install it: scripts/ensure-chromium.sh"
    with chromium(program, tmp_path_factory.mktemp("chromium")) as found:
        yield found
