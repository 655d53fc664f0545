"""Known secrets do not get into messages."""

from litellm_proxy_mask import mask
from role_settings import KEY_A, KEY_B, MASTER_KEY

CREDENTIALS = {"LITELLM_MASTER_KEY": MASTER_KEY, "ZAI_API_KEY_A": KEY_A, "ZAI_API_KEY_B": KEY_B}


def test_every_secret_becomes_the_name_of_its_variable() -> None:
    text = f"401 for {KEY_A}, then {KEY_B} and {KEY_A}; client sent '{MASTER_KEY}'"
    assert mask(text, CREDENTIALS) == (
        "401 for [ZAI_API_KEY_A], then [ZAI_API_KEY_B] and [ZAI_API_KEY_A]; client sent '[LITELLM_MASTER_KEY]'"
    )


def test_a_secret_that_contains_another_is_masked_whole() -> None:
    assert mask("see sk-short-and-more", {"SHORT": "sk-short", "LONG": "sk-short-and-more"}) == "see [LONG]"


def test_text_without_secrets_stays() -> None:
    assert mask("address already in use", CREDENTIALS) == "address already in use"
