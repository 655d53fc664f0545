"""A vault file that is changed as a whole: locked, decrypted in memory, encrypted again, replaced in one step."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import (
    VaultLib,
    VaultSecretsContext,
    match_encrypt_secret,
    parse_vaulttext_envelope,
)

HOW = "--ask-vault-pass, --vault-password-file FILE or --vault-id LABEL@FILE"


class VaultFault(Exception):
    """What is wrong and what to do, a whole sentence without a secret."""


@dataclass(frozen=True)
class Opened:
    """A vault's text, and what it is encrypted with; `status` is None where there is no file yet."""

    path: Path
    shown: str
    text: str
    secret: Any
    vault_id: str | None
    status: os.stat_result | None


@contextmanager
def opened(file: Path, shown: str, encrypt_vault_id: str | None) -> Iterator[Opened]:
    """Hold the file's directory, so that two runs follow each other, and read the file.

    Args:
        file: the vault; a symbolic link is followed and stays one.
        shown: how messages name it.
        encrypt_vault_id: label of the password that a new file is encrypted with; None for the first one.

    Raises:
        VaultFault: it cannot be read, decrypted or written.
    """
    path = file.resolve()
    try:
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as fault:
        raise VaultFault(
            f"The directory of vault_file {shown} cannot be opened ({fault.strerror}): correct -e vault_file=…, which "
            "is taken from the directory you are in, or make the directory."
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as fault:
            raise VaultFault(f"The directory of {shown} cannot be locked ({fault.strerror}).") from None
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise VaultFault(f"The directory of {shown} is not writable for you: nothing was changed.")
        yield _read(path, shown, encrypt_vault_id)
    finally:
        os.close(lock)


def write(vault: Opened, text: str) -> None:
    """Replace the file by the text, encrypted with the same password and label, with the same owner and mode.

    Raises:
        VaultFault: it cannot be written; it is as before then.
    """
    content = VaultLib().encrypt(text, vault.secret, vault.vault_id)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{vault.path.name}.", dir=vault.path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if vault.status:
                made = os.fstat(descriptor)
                if (made.st_uid, made.st_gid) != (vault.status.st_uid, vault.status.st_gid):
                    os.fchown(descriptor, vault.status.st_uid, vault.status.st_gid)
                os.fchmod(descriptor, vault.status.st_mode & 0o7777)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(vault.path)
    except OSError as fault:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        raise VaultFault(f"{vault.shown} cannot be written ({fault.strerror}): nothing was changed.") from None


def _read(path: Path, shown: str, encrypt_vault_id: str | None) -> Opened:
    context = VaultSecretsContext.current(optional=True)
    secrets = (context.secrets if context else None) or []
    try:
        content, status = path.read_bytes(), path.stat()
    except FileNotFoundError:
        if not secrets:
            raise VaultFault(
                f"{shown} is not there, and no vault password was given to make it with: add {HOW}, or correct "
                "-e vault_file=…."
            ) from None
        return Opened(path, shown, "---\n", *_new(secrets, encrypt_vault_id), None)
    except OSError as fault:
        raise VaultFault(f"{shown} cannot be read ({fault.strerror}).") from None
    if not VaultLib.is_encrypted(content):
        raise VaultFault(
            f"{shown} is not encrypted, and no key is written in the clear: encrypt it first with "
            f"ansible-vault encrypt {shown}"
        )
    if not secrets:
        raise VaultFault(f"{shown} is encrypted, and no vault password was given: add {HOW}.")
    try:
        label = parse_vaulttext_envelope(content)[3]
        text, _, secret = VaultLib(secrets).decrypt_and_get_vault_id(content)
        return Opened(path, shown, bytes(text).decode(), secret, label, status)
    except UnicodeDecodeError:
        raise VaultFault(f"{shown} is not UTF-8 text: correct it with ansible-vault edit.") from None
    except AnsibleError:
        raise VaultFault(
            f"{shown} cannot be decrypted: the vault password is wrong, or the file is damaged (try ansible-vault "
            f"view {shown})."
        ) from None


def _new(secrets: Any, encrypt_vault_id: str | None) -> tuple[Any, str | None]:
    try:
        label, secret = match_encrypt_secret(secrets, encrypt_vault_id)
    except AnsibleError:
        raise VaultFault(
            f"No vault password has the label {encrypt_vault_id} of vault_encrypt_identity: give it with --vault-id."
        ) from None
    return secret, label
