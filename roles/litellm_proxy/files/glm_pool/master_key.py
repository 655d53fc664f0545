"""The key of the administrator."""

import hmac
import os

MASTER_KEY_VARIABLE = "LITELLM_MASTER_KEY"


def is_master_key(presented: str) -> bool:
    """Whether a header's value, with or without `Bearer`, is the master key."""
    key = presented.removeprefix("Bearer ").strip()
    return hmac.compare_digest(key.encode(), os.environ[MASTER_KEY_VARIABLE].encode())
