"""The list of client keys in the text of a vault: additions that leave every other character as it is."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

VARIABLE = "vault_litellm_proxy_client_keys"


class ListFault(Exception):
    """What is wrong with the text, as the rest of a sentence that begins with its file; it repeats no value."""


def entries(text: str) -> list[dict[str, Any]]:
    """The list's entries; empty where the text has no such list.

    Raises:
        ListFault: the text is not YAML, not a mapping, or the variable is not a list of mappings.
    """
    content = _load(text)
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ListFault(f"has no variables: it must be a mapping of variables such as {VARIABLE}")
    found = content.get(VARIABLE) or []
    if not isinstance(found, list):
        raise ListFault(f"has {VARIABLE}, which is not a list: make it a list of entries with 'name' and 'key'")
    for index, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise ListFault(f"has {VARIABLE}[{index}], which is not an entry: each needs 'name' and 'key'")
    return found


def add(text: str, entry: Mapping[str, Any]) -> str:
    """The text with one more entry at the end of the list, which is begun where there is none.

    Raises:
        ListFault: as `entries`, or the text is written in a way that cannot be added to.
    """
    before = entries(text)
    node = _list_node(text)
    if node is None:
        column = _column(text)
        lines = [f"{' ' * column}{VARIABLE}:", *_block(entry, column + 2)]
        changed = _insert_lines(text, len(text), lines)
    elif not isinstance(node, yaml.SequenceNode) or not node.value:
        changed = _begin(text, node, _block(entry, _column(text) + 2))
    elif node.flow_style:
        changed = _into_flow(text, node, json.dumps(dict(entry), ensure_ascii=False))
    else:
        changed = _insert_lines(text, _end(node), _block(entry, node.start_mark.column))
    return _proven(text, changed, [*before, dict(entry)])


def revoke(text: str, name: str) -> str:
    """The text with `state: revoked` in the entry of this name, which must be there.

    Raises:
        ListFault: as `add`.
    """
    before = entries(text)
    index = next(index for index, entry in enumerate(before) if str(entry.get("name")) == name)
    after = [{**entry, "state": "revoked"} if at == index else entry for at, entry in enumerate(before)]
    node = _list_node(text).value[index]
    state = next((value for key, value in node.value if key.value == "state"), None)
    if state is not None:
        start, end = state.start_mark.index, state.end_mark.index
        space = "" if text[start - 1].isspace() else " "
        changed = f"{text[:start]}{space}revoked{text[end:]}"
    elif node.flow_style:
        changed = _into_flow(text, node, "state: revoked")
    else:
        changed = _insert_lines(text, _end(node), [f"{' ' * node.start_mark.column}state: revoked"])
    return _proven(text, changed, after)


class _Loader(yaml.SafeLoader):
    """Reads what Ansible reads: `!vault`, `!unsafe` and other tags stay what they are."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> tuple[str, Any]:
    if isinstance(node, yaml.MappingNode):
        return suffix, loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return suffix, loader.construct_sequence(node, deep=True)
    return suffix, node.value


_Loader.add_multi_constructor("!", _tagged)


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError) as fault:
        mark = getattr(fault, "problem_mark", None)
        # the parser's own words can repeat a part of a value
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ListFault(f"is not YAML{where}: correct it with ansible-vault edit") from None


def _list_node(text: str) -> Any:
    """The node of the variable's value; None where the variable is missing."""
    root = yaml.compose(text, Loader=_Loader)
    # of a variable that is there twice the last one counts
    found = [value for key, value in root.value if key.value == VARIABLE] if isinstance(root, yaml.MappingNode) else []
    return found[-1] if found else None


def _column(text: str) -> int:
    root = yaml.compose(text, Loader=_Loader)
    return root.start_mark.column if root else 0


def _block(entry: Mapping[str, Any], column: int) -> list[str]:
    """The entry as lines of block style."""
    return [
        f"{' ' * column}{'  ' if index else '- '}{name}: {_value(value)}"
        for index, (name, value) in enumerate(entry.items())
    ]


def _value(value: object) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return written.removesuffix("...\n").strip()


def _end(node: Any) -> int:
    """Where the node's last character is followed; PyYAML ends block collections only where the next token begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _insert_lines(text: str, index: int, lines: list[str]) -> str:
    """The text with the lines after the line that `index` is in, or before it where nothing precedes `index` in it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    begin = text.rfind("\n", 0, index) + 1
    if text[begin:index].strip():
        end = text.find("\n", index)
        begin = len(text) if end < 0 else end + 1
    head = text[:begin]
    if head and not head.endswith("\n"):
        head += newline
    return head + "".join(f"{line}{newline}" for line in lines) + text[begin:]


def _begin(text: str, node: Any, lines: list[str]) -> str:
    """The text with a list of these lines in the place of an empty value."""
    head, tail = text[: node.start_mark.index].rstrip(), text[node.end_mark.index :]
    if tail.lstrip(" ").startswith("#"):
        head, tail = f"{head} ", tail.lstrip(" ")
    return _insert_lines(head + tail, len(head.rstrip()), lines)


def _into_flow(text: str, node: Any, item: str) -> str:
    at = node.end_mark.index - 1
    comma = " " if text[:at].rstrip().endswith(",") else ", "
    return f"{text[:at].rstrip()}{comma}{item}{text[at:]}"


def _proven(before: str, after: str, expected: list[dict[str, Any]]) -> str:
    """The changed text, once it is sure that nothing but the list has changed in what it says."""
    try:
        content = _load(after)
    except ListFault:
        content = None
    if content != {**(_load(before) or {}), VARIABLE: expected}:
        raise ListFault(
            f"is written in a way that cannot be added to: write {VARIABLE} as a list with one entry a line "
            "(- name: …), with ansible-vault edit"
        )
    return after
