"""The models the simulator serves, as data: change the table when Z.AI changes its list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """One model of the upstream's list.

    Attributes:
        name: Identifier as clients send it, lower case.
        context: Largest prompt plus answer, in tokens.
        max_output: Largest answer, in tokens.
        always_reasons: Whether the model reasons even when thinking was not asked for.
    """

    name: str
    context: int
    max_output: int
    always_reasons: bool = False


MODELS: tuple[Model, ...] = (
    Model("glm-5.3", 1_000_000, 128_000, always_reasons=True),
    Model("glm-5.3-flash", 1_048_576, 128_000),
    Model("glm-5.2", 1_000_000, 128_000),
    Model("glm-5.1", 200_000, 128_000),
    Model("glm-5", 200_000, 128_000),
    Model("glm-5-turbo", 200_000, 128_000),
    Model("glm-5v-turbo", 200_000, 128_000),
    Model("glm-4.7", 200_000, 128_000),
    Model("glm-4.7-flash", 200_000, 128_000),
    Model("glm-4.7-flashx", 200_000, 128_000),
    Model("glm-4.6", 200_000, 128_000),
    Model("glm-4.6v", 128_000, 32_000),
    Model("glm-4.5", 128_000, 32_000),
    Model("glm-4.5-air", 128_000, 32_000),
    Model("glm-4.5-airx", 128_000, 32_000),
    Model("glm-4.5-x", 128_000, 32_000),
    Model("glm-4.5-flash", 128_000, 32_000),
    Model("glm-4.5v", 128_000, 32_000),
)

_BY_NAME = {model.name: model for model in MODELS}


def find_model(name: str) -> Model | None:
    """Return the model of that name (letter case does not matter), or None when it is unknown."""
    return _BY_NAME.get(name.lower())
