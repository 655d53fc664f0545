"""The page of the repository says what the tests saw."""

import compatibility
import pytest
from clients_support import RESULTS


def test_the_page_is_what_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    status = compatibility.main(["--check", str(RESULTS)])
    assert status == 0, capsys.readouterr().err
