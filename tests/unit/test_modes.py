"""Every cell of the table in docs/modes.md is held by tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODES = ("systemd", "compose", "process")

DEFAULT = "molecule/default/tests"
BAD = "molecule/bad_input/tests/test_host.py"
HANDOVER = "molecule/handover/tests/test_handover.py"
CONTAINER, OPERATION = "molecule/compose/tests/test_container.py", "molecule/compose/tests/test_operation.py"
PROCESS = "molecule/process/tests"
VALIDATE = "tests/unit/test_validate.py"

HELD_BY: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "For": (
        (f"{DEFAULT}/test_api.py::test_chat_completion_on_every_name",),
        ("molecule/compose/tests/test_api.py::test_chat_completion_on_every_name",),
        (f"{PROCESS}/test_answers.py::test_answers_over_both_apis",),
    ),
    "LiteLLM comes from": (
        ("tests/unit/test_requirements.py::test_every_requirement_is_pinned_with_a_hash",),
        (f"{CONTAINER}::test_the_official_image_runs_by_its_digest",),
        ("tests/unit/test_requirements.py::test_every_requirement_is_pinned_with_a_hash",),
    ),
    "Needs on the host": (
        (f"{BAD}::test_unfit_host",),
        (f"{CONTAINER}::test_it_is_healthy_in_dockers_eyes",),
        (f"{PROCESS}/test_changes.py::test_what_a_user_cannot_do_is_said",),
    ),
    "Runs as": (
        (
            f"{DEFAULT}/test_service.py::test_runs_as_its_own_user",
            f"{DEFAULT}/test_service.py::test_sandbox_exposure_is_at_most_2",
        ),
        (f"{CONTAINER}::test_the_process_has_no_rights", f"{CONTAINER}::test_setting_of_the_container"),
        (f"{PROCESS}/test_answers.py::test_all_of_it_runs_as_the_user",),
    ),
    "Memory cap": (
        (f"{DEFAULT}/test_service.py::test_unit_setting",),
        (f"{CONTAINER}::test_setting_of_the_container",),
        (),
    ),
    "A change, an upgrade, a rollback": (
        (f"{HANDOVER}::test_rotate_all_keys", f"{HANDOVER}::test_upgrade", f"{HANDOVER}::test_roll_back"),
        (
            f"{OPERATION}::test_rotating_all_keys_drops_nothing",
            f"{OPERATION}::test_another_image_drops_nothing_and_rollback_neither",
        ),
        (
            f"{PROCESS}/test_changes.py::test_rotation_and_rollback",
            f"{PROCESS}/test_changes.py::test_settings_that_litellm_dies_of_bring_back_what_was",
        ),
    ),
    "A crash of the instance": (
        (f"{DEFAULT}/test_service.py::test_requests_outlive_a_crash_of_the_instance",),
        (f"{OPERATION}::test_a_crash_heals_and_requests_wait_for_it",),
        (f"{PROCESS}/test_answers.py::test_crashed_instance_comes_back",),
    ),
    "Reboot": (
        (f"{HANDOVER}::test_power_loss_in_the_middle",),
        (f"{OPERATION}::test_power_loss_brings_back_the_one_that_current_names",),
        (f"{PROCESS}/test_boot.py::test_comes_back_after_a_reboot",),
    ),
    "Log": (
        (f"{DEFAULT}/test_secrets.py::test_not_in_the_log_even_after_faults",),
        (f"{CONTAINER}::test_setting_of_the_container",),
        (f"{PROCESS}/test_answers.py::test_full_log_begins_anew",),
    ),
    "Key values are": (
        (f"{DEFAULT}/test_secrets.py::test_credentials_are_for_root_alone",),
        (
            f"{CONTAINER}::test_credentials_are_a_file_of_the_service_in_a_directory_of_root",
            f"{CONTAINER}::test_no_secret_in_what_docker_tells",
        ),
        (f"{PROCESS}/test_answers.py::test_secrets_are_in_no_file_that_others_can_read",),
    ),
    "Keys of clients": (
        ("molecule/clients/tests/test_usage.py::test_the_account_has_every_client",),
        (
            "molecule/compose/tests/test_client_keys.py::test_a_key_is_given_counted_and_revoked_while_the_instance_runs",
        ),
        (f"{PROCESS}/test_client_keys.py::test_a_key_is_given_counted_and_revoked_while_the_instance_runs",),
    ),
    "Key values of before a change are": (
        (f"{HANDOVER}::test_rotate_all_keys",),
        (f"{OPERATION}::test_rotating_all_keys_drops_nothing",),
        (f"{PROCESS}/test_changes.py::test_rotation_and_rollback",),
    ),
    "Several on one machine": (
        (f"{BAD}::test_taken_port_names_who_has_it",),
        (f"{OPERATION}::test_a_taken_port_is_refused",),
        (f"{PROCESS}/test_changes.py::test_second_port_is_a_second_instance",),
    ),
    "A port that is taken": (
        (f"{BAD}::test_taken_port_names_who_has_it",),
        (f"{OPERATION}::test_a_taken_port_is_refused",),
        (f"{PROCESS}/test_changes.py::test_what_a_user_cannot_do_is_said",),
    ),
    "Removal leaves": (
        ("molecule/default/tests_removed/test_removed.py::test_packages_of_the_system_stay",),
        ("molecule/compose/tests_removed/test_removed.py::test_docker_stays",),
        ("molecule/process/tests_removed/test_removed.py::test_no_file_is_left",),
    ),
}
"""By row of the table: the tests that hold what it says of each mode. Only what a mode does without has none."""


def table() -> dict[str, list[str]]:
    """The rows of the page by their heading."""
    lines = (ROOT / "docs" / "modes.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert rows[0] == ["", "`systemd` (default)", "`compose`", "`process`"]
    return {row[0]: row[1:] for row in rows[1:]}


def test_every_row_has_its_tests() -> None:
    assert list(table()) == list(HELD_BY)


def test_a_cell_without_a_test_promises_nothing() -> None:
    for heading, cells in table().items():
        for cell, tests in zip(cells, HELD_BY[heading], strict=True):
            assert tests or cell == "no", f"{heading}: {cell}"


@pytest.mark.parametrize("test", sorted({test for row in HELD_BY.values() for cell in row for test in cell}))
def test_it_exists(test: str) -> None:
    path, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test
