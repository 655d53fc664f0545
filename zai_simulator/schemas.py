"""Values that satisfy a JSON schema, for the arguments of simulated tool calls."""

from __future__ import annotations

from collections.abc import Mapping

_DEEPEST = 12


def example(schema: object, root: object = None, depth: int = 0) -> object:
    """Return a value that fits a JSON schema, always the same for the same schema.

    Objects get their required properties only. Patterns and formats are not looked at.

    Args:
        schema: The schema; anything that is not a mapping fits a plain text.
        root: The schema in which ``$ref`` is looked up; the schema itself when left out.
        depth: How deep the schema lies in the root.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return "simulated"
    for ready in ("const", "default"):
        if ready in schema:
            return schema[ready]
    for listed in ("enum", "examples"):
        values = schema.get(listed)
        if isinstance(values, list) and values:
            return values[0]
    if isinstance(schema.get("$ref"), str):
        return example(_resolve(str(schema["$ref"]), root), root, depth + 1)
    for choice in ("anyOf", "oneOf"):
        values = schema.get(choice)
        if isinstance(values, list) and values:
            return example(values[0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, object], root: object, depth: int) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or (kind is None and ("properties" in schema or "allOf" in schema)):
        return _object(schema, root, depth)
    if kind == "array":
        least = schema.get("minItems")
        return [example(schema.get("items"), root, depth + 1)] * (least if isinstance(least, int) else 0)
    if kind in ("integer", "number"):
        return _number(schema, 1 if kind == "integer" else 1.5)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    least = schema.get("minLength")
    return "simulated".ljust(least if isinstance(least, int) else 0, "x")[: _length(schema)]


def _object(schema: Mapping[str, object], root: object, depth: int) -> dict[str, object]:
    made: dict[str, object] = {}
    parts = schema.get("allOf")
    for part in parts if isinstance(parts, list) else []:
        value = example(part, root, depth + 1)
        if isinstance(value, dict):
            made.update(value)
    properties = schema.get("properties")
    required = schema.get("required")
    for name in required if isinstance(required, list) else []:
        inner = properties.get(name) if isinstance(properties, Mapping) else None
        made[name] = example(inner, root, depth + 1)
    return made


def _number(schema: Mapping[str, object], usual: float) -> float:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if isinstance(schema.get("exclusiveMinimum"), int | float):
        lowest = float(str(schema["exclusiveMinimum"])) + 1
        lowest = int(lowest) if isinstance(usual, int) else lowest
    if isinstance(lowest, int | float):
        return lowest
    return min(usual, highest) if isinstance(highest, int | float) else usual


def _length(schema: Mapping[str, object]) -> int | None:
    longest = schema.get("maxLength")
    return longest if isinstance(longest, int) else None


def _resolve(reference: str, root: object) -> object:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
