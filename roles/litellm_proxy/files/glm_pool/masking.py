"""Key values do not leave: neither to clients nor into the log."""

import logging
import re
from collections.abc import Iterable

MASK = "[masked]"
SHORTEST = 8
"""A secret shorter than this is no secret, and masking it would spoil ordinary text."""


class Masker:
    """Replaces every known secret in text.

    Args:
        secrets: values; of a Z.AI key, which is an id, a dot and a secret, the secret alone is masked too.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        parts: set[str] = set()
        for secret in secrets:
            parts |= {secret, *secret.split(".")[1:]}
        usable = sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, usable))) if usable else None
        self._bytes = re.compile(self._pattern.pattern.encode()) if self._pattern else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def data(self, data: bytes) -> bytes:
        """The bytes without secrets."""
        return self._bytes.sub(MASK.encode(), data) if self._bytes else data


def mask_logs(masker: Masker) -> None:
    """Mask every record of every logger of this process, exceptions included, from now on."""
    make = logging.getLogRecordFactory()

    def make_masked(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit: the handler would report it, and must not fail its caller
            record.msg, record.args = masker.text(f"{record.msg} {record.args!r}"), None
        else:
            masked = masker.text(message)
            if masked != message:
                record.msg, record.args = masked, None
        if record.exc_info and record.exc_info[1] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            if masker.text(trace) != trace:
                record.exc_info, record.exc_text = None, masker.text(trace)
        return record

    logging.setLogRecordFactory(make_masked)
