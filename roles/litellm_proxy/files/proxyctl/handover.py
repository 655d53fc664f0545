"""A restart that drops nothing: the generation that serves starts in the other slot and takes over."""

import time

from litellm_gateway_haproxy import Gone

from proxyctl.exits import Exit, Failure
from proxyctl.instance import POLL_SECONDS, Instance, silent
from proxyctl.layout import OTHER
from proxyctl.pool import Unreachable

TELL_SECONDS = 15.0
CUT_SECONDS = 5.0


def hand_over(instance: Instance) -> str:
    """Replace the instance that serves by a fresh one of the same generation; what to say of it.

    On any failure the new one is stopped and the old one serves on.
    """
    old = instance.layout.slot()
    new = OTHER[old]
    try:
        if instance.service.running(new):
            instance.report.say(f"Slot {new} still runs, as a change was interrupted; it is emptied first.")
            leave(instance, new)
        enter(instance, new)
        say = instance.report.say
        say(f"Slot {new} serves now; slot {old} finishes the requests that it has.")
        cut = leave(instance, old)
    except Gone as error:
        raise silent(error) from error
    return f"Restarted: slot {new} serves generation {instance.layout.generation()}." + (
        f" {cut} request(s) ran for longer than {instance.settings.drain_timeout:g} s and were cut." if cut else ""
    )


def enter(instance: Instance, slot: str) -> None:
    """Start the current generation in a slot, prove it, and let it serve."""
    since = time.time()
    generation = instance.layout.generation()
    try:
        # what was seen of the slot before says nothing of this instance
        instance.server(slot).tell("drain", down=True)
        instance.service.place(slot, generation)
        instance.report.say(f"Generation {generation} starts in slot {slot}.")
        instance.service.start(slot, fresh=True)
        instance.wait_until_alive(slot, since)
        _prove(instance, slot)
        instance.server(slot).tell("ready")
        instance.wait_until_up(slot)
        # the moment that decides: what `current` names is what a host serves that comes up after a crash
        instance.layout.commit(slot)
    except BaseException as error:
        _withdraw(instance, slot)
        if isinstance(error, Failure):
            raise Failure(error.code, f"{error}\nSlot {slot} was stopped; slot {OTHER[slot]} serves on.") from error
        raise
    instance.service.settle()


def leave(instance: Instance, slot: str) -> int:
    """Let the requests of a slot finish and stop it; how many were cut as they took too long."""
    try:
        return _emptied(instance, slot)
    except KeyboardInterrupt:
        instance.report.say(
            f"Slot {slot} still has requests and gets no new ones; the next restart or deploy stops it, when they "
            "have finished."
        )
        raise


def _emptied(instance: Instance, slot: str) -> int:
    server = instance.server(slot)
    server.tell("drain")
    begin = time.monotonic()
    told = begin
    while (running := server.running()) and time.monotonic() < begin + instance.settings.drain_timeout:
        if time.monotonic() >= told + TELL_SECONDS:
            told = time.monotonic()
            instance.report.say(f"{running} request(s) still run on slot {slot} after {told - begin:.0f} s.")
        time.sleep(POLL_SECONDS)
    if running:
        server.cut()
        end = time.monotonic() + CUT_SECONDS
        while server.running() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
    instance.service.stop(slot)
    return running


def _prove(instance: Instance, slot: str) -> None:
    wanted = instance.layout.manifest().get("models", [])
    try:
        served = instance.client(slot).models()
    except Unreachable as error:
        raise Failure(Exit.FAILED, f"The new instance does not tell its models: {error}.") from error
    if served != wanted:
        raise Failure(
            Exit.FAILED, f"The new instance serves {', '.join(served) or 'no model'} instead of {', '.join(wanted)}."
        )


def _withdraw(instance: Instance, slot: str) -> None:
    """Nothing more for the slot, whatever else fails."""
    try:
        instance.server(slot).tell("drain")
    except Gone:
        pass
    finally:
        instance.service.stop(slot)
