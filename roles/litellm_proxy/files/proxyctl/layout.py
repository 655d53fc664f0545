"""What the links in the config directory say: which generation serves in which slot, and where."""

import json
import os
from pathlib import Path
from typing import Any

from proxyctl.exits import Exit, Failure
from proxyctl.settings import Settings

OTHER = {"a": "b", "b": "a"}


class Layout:
    """The generations of one instance."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.config_dir

    @property
    def current(self) -> Path:
        """The link that decides what serves."""
        return self.directory / "current"

    def slot(self) -> str:
        """The slot that serves; empty in process mode. Failure where nothing was deployed."""
        try:
            target = self.current.readlink()
        except PermissionError as error:
            raise Failure(
                Exit.NO_PERMISSION, f"{self.directory} cannot be read by this user: run it with sudo."
            ) from error
        except OSError as error:
            raise Failure(Exit.NOT_INSTALLED, f"{self.current} is missing: run site.yml.") from error
        return target.name if target.parent.name == "slots" else ""

    def generation(self) -> str:
        """Name of the generation that serves."""
        return self.current.resolve().name

    def manifest(self) -> dict[str, Any]:
        """What is in the generation that serves; Failure where it can not be read."""
        try:
            found: dict[str, Any] = json.loads((self.current / "manifest.json").read_text())
        except PermissionError as error:
            raise Failure(
                Exit.NO_PERMISSION, f"{self.current} cannot be read by this user: run it with sudo."
            ) from error
        except (OSError, ValueError) as error:
            raise Failure(Exit.FAILED, f"{self.current}/manifest.json is missing or damaged: run site.yml.") from error
        return found

    def credentials(self) -> dict[str, str]:
        """The secrets of the generation that serves, by name; never to be shown."""
        path = self.current / "credentials" / "litellm-proxy.json"
        try:
            found: dict[str, str] = json.loads(path.read_text())
        except PermissionError as error:
            raise Failure(Exit.NO_PERMISSION, f"{path} cannot be read by this user: run it with sudo.") from error
        except (OSError, ValueError) as error:
            raise Failure(Exit.FAILED, f"{path} is missing or damaged: run site.yml.") from error
        return found

    def instance_url(self, slot: str) -> str:
        """Where the instance in a slot is reached from this host."""
        if not slot:
            return self.settings.url
        return self.place(slot).get("LITELLM_PROXY_LISTEN_URL", "") or self.slot_url(slot)

    def instance_port(self, slot: str) -> int:
        """Where it listens."""
        return self.settings.slots[slot] if self.settings.behind_gateway and slot else self.settings.port

    def slot_url(self, slot: str) -> str:
        """As `instance_url`, by the settings."""
        if self.settings.behind_gateway:
            return f"http://127.0.0.1:{self.settings.slots[slot]}"
        return self.settings.url

    def place(self, slot: str) -> dict[str, str]:
        """What the slot's file says of where it listens."""
        try:
            lines = (self.directory / "slots" / f"{slot}.env").read_text().splitlines()
        except OSError:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def enter(self, slot: str, generation: str, extra: dict[str, str]) -> None:
        """Put a generation into a slot, and say where it listens.

        Args:
            slot: its name.
            generation: its name.
            extra: what the slot's file says beyond the place, by name.
        """
        wanted = {
            **extra,
            "LITELLM_PROXY_LISTEN_HOST": self.settings.listen_host,
            "LITELLM_PROXY_LISTEN_PORT": str(self.instance_port(slot)),
            "LITELLM_PROXY_LISTEN_URL": self.slot_url(slot),
        }
        given = self.place(slot)
        if not wanted.items() <= given.items():
            text = "".join(f"{name}={value}\n" for name, value in {**given, **wanted}.items())
            write(self.directory / "slots" / f"{slot}.env", f"# Written by litellm-proxyctl\n{text}", 0o644)
        link(self.directory / "slots" / slot, f"../generations/{generation}")

    def commit(self, slot: str) -> None:
        """Make a slot the one that serves, now and after a crash of the host."""
        os.sync()
        link(self.current, f"slots/{slot}")


def write(path: Path, text: str, mode: int) -> None:
    """Put the text in place whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.write_text(text)
    new.chmod(mode)
    new.replace(path)


def link(path: Path, target: str) -> None:
    """Let a symbolic link point elsewhere in one step."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
