"""Every feature of the SDKs: what their users get, and how it differs from the API that they were made for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sdk_cases import CASES, Case
from workstation_support import SDKS, Workstation


def parameters() -> Iterator[Any]:
    for client, cases in CASES.items():
        for case in cases:
            mark = pytest.mark.cell(client, case.feature, case.note)
            yield pytest.param(client, case, marks=mark, id=f"{client}-{case.feature}")


@pytest.fixture(scope="module")
def seen(workstation: Workstation) -> dict[str, dict[str, Any]]:
    """What each program saw."""
    with ThreadPoolExecutor(2) as runs:
        found = runs.map(workstation.features, SDKS)
        return dict(zip(SDKS, found, strict=True))


@pytest.mark.parametrize(("client", "case"), list(parameters()))
def test_feature(seen: dict[str, dict[str, Any]], client: str, case: Case) -> None:
    case.check(seen[client][case.feature])


@pytest.mark.parametrize("client", CASES)
def test_no_feature_of_a_program_is_left_out(seen: dict[str, dict[str, Any]], client: str) -> None:
    assert sorted(seen[client]) == sorted(case.feature for case in CASES[client])
