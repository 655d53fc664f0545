"""Key values do not leave."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from role_settings import KEY_A, KEY_B, MASTER_KEY

from glm_pool.masking import MASK, Masker, mask_logs

SECRET_A = KEY_A.split(".")[1]
ID_A = KEY_A.split(".")[0]


@pytest.fixture
def masker() -> Masker:
    return Masker([KEY_A, KEY_B, MASTER_KEY])


class Log:
    """A logger whose lines are read as an operator would."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logger = logging.Logger("some library")
        self.logger.addHandler(logging.StreamHandler(self.stream))

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def log(masker: Masker) -> Iterator[Log]:
    factory = logging.getLogRecordFactory()
    mask_logs(masker)
    yield Log()
    logging.setLogRecordFactory(factory)


def test_known_values_are_masked_in_text_and_bytes(masker: Masker) -> None:
    text = f"invalid key {KEY_A}, not {KEY_B}; proxy {MASTER_KEY}."
    assert masker.text(text) == f"invalid key {MASK}, not {MASK}; proxy {MASK}."
    assert masker.data(text.encode()) == masker.text(text).encode()


def test_secret_part_of_a_key_is_masked_alone_and_its_id_is_not(masker: Masker) -> None:
    assert masker.text(f"secret {SECRET_A} of {ID_A}") == f"secret {MASK} of {ID_A}"
    assert masker.data(f"secret {SECRET_A}".encode()) == f"secret {MASK}".encode()


def test_key_is_masked_within_a_longer_word(masker: Masker) -> None:
    assert masker.text(f"x{KEY_A}{KEY_B}y") == f"x{MASK}{MASK}y"


def test_longer_secret_is_masked_as_a_whole() -> None:
    assert Masker(["password", "password-of-redis"]).text("password-of-redis") == MASK


def test_what_is_too_short_to_be_a_secret_spoils_no_text() -> None:
    masker = Masker(["", "key", "a.b", "1234567"])
    assert masker.text("a key: 1234567 a.b") == "a key: 1234567 a.b"
    assert masker.data(b"a key") == b"a key"


def test_signs_of_a_secret_are_no_pattern() -> None:
    masker = Masker(["p(ss|w*rd+é", "a.bcdefgh"])
    assert masker.text("p(ss|w*rd+é aXbcdefgh a.bcdefgh") == f"{MASK} aXbcdefgh {MASK}"
    assert masker.data("p(ss|w*rd+é".encode()) == MASK.encode()


def test_without_secrets_everything_stays() -> None:
    assert Masker([]).text("text") == "text"
    assert Masker([]).data(b"text") == b"text"


def test_message_is_masked(log: Log) -> None:
    log.logger.warning(f"upstream said: {KEY_A}")
    assert log.text == f"upstream said: {MASK}\n"


@pytest.mark.parametrize(
    "argument",
    [KEY_A, {"api_key": KEY_A}, [KEY_A], KEY_A.encode(), ValueError(KEY_A), {"Authorization": f"Bearer {KEY_A}"}],
)
def test_arguments_are_masked(log: Log, argument: object) -> None:
    log.logger.warning("sent %s", argument)
    assert MASK in log.text
    assert SECRET_A not in log.text


def test_secret_that_only_shows_in_the_whole_message_is_masked(log: Log) -> None:
    log.logger.warning("%s.%s", ID_A, SECRET_A)
    assert log.text == f"{MASK}\n"


def test_named_arguments_are_masked(log: Log) -> None:
    log.logger.warning("%(key)s", {"key": KEY_A})
    assert log.text == f"{MASK}\n"


def test_exception_is_masked_with_its_causes(log: Log) -> None:
    try:
        try:
            raise ValueError(f"no key {KEY_A}")
        except ValueError as error:
            raise RuntimeError("it failed") from error
    except RuntimeError:
        log.logger.exception("sorry")
    assert log.text.startswith("sorry\nTraceback")
    assert f"ValueError: no key {MASK}" in log.text
    assert "RuntimeError: it failed" in log.text
    assert SECRET_A not in log.text


def test_lines_without_a_secret_stay_as_they_are(log: Log) -> None:
    records = []
    log.logger.addFilter(lambda record: records.append(record) or True)  # type: ignore[func-returns-value]
    error = OSError("no")
    log.logger.error("%s of %d", "one", 2, exc_info=error)
    assert (records[0].msg, records[0].args) == ("%s of %d", ("one", 2))
    assert records[0].exc_info == (OSError, error, None)


def test_line_without_an_exception_under_way_is_written(log: Log) -> None:
    assert sys.exc_info() == (None, None, None)
    log.logger.error("no error", exc_info=True)
    assert log.text.startswith("no error")


def test_call_with_arguments_that_do_not_fit_fails_nobody_and_shows_no_secret(log: Log) -> None:
    log.logger.warning("%d keys", KEY_A)
    log.logger.warning("no place", KEY_A)
    assert log.text.count(MASK) == 2
    assert SECRET_A not in log.text


def test_every_logger_is_masked(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("httpx").warning("POST %s", KEY_A)
    assert caplog.messages == [f"POST {MASK}"]
