"""One installed instance with all that commands need of it."""

import time

from litellm_gateway_haproxy import Gateway, Gone
from litellm_proxy_mask import mask

from proxyctl.exits import Exit, Failure
from proxyctl.layout import OTHER, Layout
from proxyctl.pool import Client
from proxyctl.programs import run
from proxyctl.report import Report
from proxyctl.service import Service, service_of
from proxyctl.service_systemd import shown
from proxyctl.settings import Settings

GATEWAY_UNIT = "litellm-gateway.service"
POLL_SECONDS = 0.25
UP_SECONDS = 30.0
"""How long the gateway may take to see that an instance is well: several checks of a server that was down."""


class Instance:
    """See above."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self.settings = settings
        self.report = report
        self.layout = Layout(settings)
        self.service: Service = service_of(settings, self.layout)

    def slots(self) -> list[str]:
        """The slot that serves first, then the other one."""
        slot = self.layout.slot()
        return [slot, OTHER[slot]] if slot in OTHER else [slot]

    def client(self, slot: str) -> Client:
        """Asks the instance in a slot."""
        return Client(
            self.layout.instance_url(slot), self.layout.credentials()["LITELLM_MASTER_KEY"], self.settings.ca_bundle
        )

    def server(self, slot: str) -> Gateway:
        """The slot as the gateway sees it."""
        return Gateway(self.settings.gateway["master"], self.settings.gateway["backend"], slot)

    def gateway_runs(self) -> bool:
        """Whether HAProxy does; True where there is none to run."""
        return not self.settings.behind_gateway or shown(GATEWAY_UNIT)["ActiveState"] in ("active", "reloading")

    def start_gateway(self) -> None:
        """Have HAProxy own the port."""
        if self.settings.behind_gateway:
            run(["systemctl", "start", GATEWAY_UNIT])

    def stop_gateway(self) -> None:
        """Give the port back."""
        if self.settings.behind_gateway:
            run(["systemctl", "stop", GATEWAY_UNIT])

    def serves(self) -> bool:
        """Whether a request would be answered."""
        slot = self.layout.slot()
        return self.gateway_runs() and self.service.running(slot) and self.client(slot).alive()

    def masked(self, text: str) -> str:
        """The text without a secret."""
        return mask(text, self.layout.credentials())

    def wait_until_alive(self, slot: str, since: float) -> None:
        """Return once the instance answers; Failure with the end of its log when it dies or the time is over.

        Args:
            slot: of the instance.
            since: seconds since the epoch, from when its log tells of this start.
        """
        client, died = self.client(slot), self.service.watch(slot)
        end = time.monotonic() + self.settings.start_timeout
        while not client.alive():
            if died():
                raise Failure(Exit.FAILED, self._with_log("The instance ended before it answered.", slot, since))
            if time.monotonic() >= end:
                message = f"The instance did not answer within {self.settings.start_timeout:g} s."
                raise Failure(Exit.FAILED, self._with_log(message, slot, since))
            time.sleep(POLL_SECONDS)

    def wait_until_up(self, slot: str) -> None:
        """Return once the gateway sends requests to the slot."""
        if not self.settings.behind_gateway:
            return
        end = time.monotonic() + UP_SECONDS
        try:
            while not self.server(slot).up():
                if time.monotonic() >= end:
                    raise Failure(
                        Exit.FAILED,
                        f"The gateway's health check of slot {slot} did not pass within {UP_SECONDS:g} s; see: "
                        "journalctl -t litellm-gateway",
                    )
                time.sleep(POLL_SECONDS)
        except Gone as error:
            raise silent(error) from error

    def _with_log(self, message: str, slot: str, since: float) -> str:
        tail = self.masked(self.service.tail(slot, since)).strip()
        return f"{message} Its log ends with:\n{tail}" if tail else f"{message} It logged nothing."


def silent(error: Gone) -> Failure:
    """What to say where HAProxy does not answer."""
    return Failure(Exit.FAILED, f"The gateway does not answer ({error}); see: systemctl status litellm-gateway")
