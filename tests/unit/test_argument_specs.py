"""The argument specification, the defaults, the validator and the README say the same."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import litellm_proxy_config
import litellm_proxy_validate as validator
import pytest
import variables_table
from role_settings import DEFAULTS, OPTIONS, ROLE, ROOT, SETTINGS

KEY_OPTIONS: dict[str, dict[str, Any]] = OPTIONS["litellm_proxy_zai_keys"]["options"]
POOL_OPTIONS: dict[str, dict[str, Any]] = OPTIONS["litellm_proxy_pools"]["options"]


def all_options(options: dict[str, dict[str, Any]], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield prefix + name, option
        yield from all_options(option.get("options", {}), f"{prefix}{name}.")


EVERY_OPTION = dict(all_options(OPTIONS))


def test_specification_and_defaults_have_the_same_variables() -> None:
    assert sorted(OPTIONS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_is_the_one_of_the_role(name: str) -> None:
    assert OPTIONS[name]["default"] == DEFAULTS[name]
    assert type(OPTIONS[name]["default"]) is type(DEFAULTS[name])


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_every_option_has_a_type_and_a_description_of_one_to_three_sentences(name: str) -> None:
    option = EVERY_OPTION[name]
    assert option["type"] in {"str", "int", "bool", "path", "dict", "list", "float"}
    assert option["type"] != "list" or option["elements"] in {"str", "int", "dict"}
    assert option["description"].endswith(".")
    assert 1 <= len(re.findall(r"\.(?:\s|$)", option["description"])) <= 3


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_ansible_does_not_judge_before_the_validator(name: str) -> None:
    assert not {"choices", "required"} & set(EVERY_OPTION[name])


def test_secrets_are_marked() -> None:
    secrets = {name for name, option in EVERY_OPTION.items() if option.get("no_log")}
    assert secrets == {
        "litellm_proxy_client_keys.key",
        "litellm_proxy_generations_password",
        "litellm_proxy_master_key",
        "litellm_proxy_redis_url",
        "litellm_proxy_registry_password",
        "litellm_proxy_zai_keys.key",
    }


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("litellm_proxy_state", validator.STATES),
        ("litellm_proxy_mode", validator.MODES),
        ("litellm_proxy_front", validator.FRONTS),
        ("litellm_proxy_log_level", validator.LOG_LEVELS),
        ("litellm_proxy_routing_strategy", (*validator.POOL_STRATEGIES, *validator.LITELLM_STRATEGIES)),
        ("litellm_proxy_zai_keys.plan", validator.PLANS),
        ("litellm_proxy_zai_keys.region", validator.REGIONS),
        ("litellm_proxy_zai_keys.state", validator.KEY_STATES),
    ],
)
def test_description_names_every_allowed_value(name: str, allowed: Sequence[str]) -> None:
    option = EVERY_OPTION[name]
    assert [value for value in allowed if f"`{value}`" not in option["description"]] == []
    assert option["default"] in allowed or "{{" in option["default"]


def test_nested_fields_are_those_of_the_validator() -> None:
    assert set(KEY_OPTIONS) == validator.KEY_FIELDS
    assert set(POOL_OPTIONS) == validator.POOL_FIELDS


def test_limits_say_whose_they_are_and_what_becomes_of_the_rest() -> None:
    for field in ("max_parallel_requests", "rpm"):
        assert "one account share it" in " ".join(KEY_OPTIONS[field]["description"].split())
        assert "waits in the queue" in KEY_OPTIONS[field]["description"]
        assert "LiteLLM's own" in KEY_OPTIONS[field]["description"]


@pytest.mark.parametrize("module", ["litellm_proxy_validate", "litellm_proxy_config"])
def test_filters_get_every_variable_that_they_read(module: str) -> None:
    source = (ROLE / "filter_plugins" / f"{module}.py").read_text()
    filters = {*validator.FilterModule().filters(), *litellm_proxy_config.FilterModule().filters()}
    read = set(re.findall(r"['\"](litellm_proxy_\w+)['\"]", source)) - filters
    assert read, "the expression finds no variable"
    assert read - set(SETTINGS) == set()


def test_settings_of_the_filters_are_the_variables_of_the_same_name() -> None:
    assert {name: f"{{{{ {name} }}}}" for name in SETTINGS} == {
        name: template.replace(" | bool ", " ") for name, template in SETTINGS.items()
    }
    assert set(SETTINGS) <= set(DEFAULTS)


def test_strategies_of_the_validator_are_those_of_the_config() -> None:
    assert litellm_proxy_config.POOL_STRATEGIES == validator.POOL_STRATEGIES


def test_readme_has_the_current_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert variables_table.main(["--check"], root=ROOT) == 0, capsys.readouterr().err
