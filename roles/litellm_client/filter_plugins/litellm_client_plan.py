"""Filter that plans what is written on a workstation: merges on the controller, foreign settings and comments kept.

A record beside the token names what was put in, so that `absent` takes out that and nothing else. It has SHA-256
digests of the role's own values, and values of others that they replaced, unless their name is one of a secret.
"""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import tomlkit
import tomlkit.exceptions
import tomlkit.items

SECRET_NAME = re.compile(r"token|key|secret|passw|auth", re.IGNORECASE)
PASSWORD = re.compile(r"//[^/@\s\"]*@")
"""Of a URL, with the user's name."""
BEGIN, END = "# >>> litellm_client (Ansible) >>>", "# <<< litellm_client (Ansible) <<<"
MISSING = object()

Path = tuple[str, ...]
Table = Callable[[Any, bool], Any]
Document = MutableMapping[str, Any]
Entry = dict[str, Any]
"""What the record has on one merged file: format, created, settings (path, sha256, perhaps replaced), parents."""


class Unreadable(ValueError):
    """A file cannot be merged with; the message says why, without its content."""


def plan(wanted: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> dict[str, Any]:
    """Plan what the module litellm_client_write does, and who joins or leaves the group.

    Args:
        wanted: accounts as the filter litellm_client_accounts makes them, the machine first.
        found: what the module litellm_client_read returned for them.

    Returns:
        faults and warnings, a sentence each; accounts, for the module's option; groups, what changes in groups: create,
        remove (names), join, leave (user and group). With faults the rest is of no use.
    """
    result: dict[str, Any] = {"faults": [], "warnings": [], "accounts": []}
    result["groups"] = {"create": [], "remove": [], "join": [], "leave": []}
    for account, seen in zip(wanted, found["accounts"], strict=True):
        if not seen["known"]:
            if account["present"]:
                result["faults"].append(_unknown(account["user"]))
        elif seen["error"]:
            result["faults"].append(f"{seen['error']}: it should say what this role put in; mend or remove it.")
        else:
            one = _Account(account, seen, result)
            if "group" in account:
                one.join(found["group"])
            result["accounts"].append(one.plan())
    return result


def _unknown(user: str) -> str:
    return f"litellm_client_users has {user}, a user whom the machine does not know: correct it, or create the user."


class _Account:
    def __init__(self, wanted: Mapping[str, Any], found: Mapping[str, Any], result: dict[str, Any]) -> None:
        self.wanted, self.found, self.result = wanted, found, result
        self.old = found["record"] or {}
        self.record: dict[str, Any] = {"version": 1, "own": [], "merged": {}, "directories": []}

    def join(self, group: Mapping[str, Any]) -> None:
        """Plan who is in the group that may read the token; who was in it without the role stays."""
        name, groups = self.wanted["group"], self.result["groups"]
        old = self.old.get("group") or {"name": name, "created": False, "members": []}
        members = self.wanted["members"]
        if self.wanted["present"]:
            self.result["faults"] += [_unknown(user) for user in members if user in group["unknown"]]
            join = [user for user in members if user not in group["members"]]
            same = old["name"] == name
            ours = sorted({*join, *(set(old["members"]) & set(members) if same else [])})
            created = not group["exists"] or (same and old["created"])
            self.record["group"] = {"name": name, "created": created, "members": ours}
            groups["create"] += [] if group["exists"] else [name]
            groups["join"] += [{"user": user, "group": name} for user in join]
            if same:
                leave = [user for user in old["members"] if user not in members and user in group["members"]]
                groups["leave"] += [{"user": user, "group": name} for user in leave]
                return
        if old["created"]:
            groups["remove"].append(old["name"])
        else:
            groups["leave"] += [{"user": user, "group": old["name"]} for user in old["members"]]

    def plan(self) -> dict[str, Any]:
        """What the module does for this account."""
        present = self.wanted["present"]
        files = {self._absolute(file["path"]): file for file in self.wanted["files"]}
        own = {path: file for path, file in files.items() if file["format"] == "own"}
        merged = {path: file for path, file in files.items() if file["format"] != "own" and self._takes(path, file)}
        merged = merged if present else {}
        writes = [self._own(path, file) for path, file in own.items()] if present else []
        gone = [path for path in self.old.get("own", []) if path not in own or not present]
        gone += [path for path in own if not present and path not in gone]
        documents = []
        for path in sorted({*merged, *self.old.get("merged", {})}):
            try:
                documents += self._merged(path, merged.get(path))
            except Unreadable as error:
                self.result["faults"].append(f"{path} {error}; it was left untouched.")
        self.record["own"] = sorted(own) if present else []
        known = self.old.get("directories", [])
        self.record["directories"] = sorted({*known, *self.found["missing_directories"]}) if present else []
        return {
            "user": self.wanted["user"],
            "directories": self.found["missing_directories"] if present else [],
            "directory_mode": self.wanted["directory_mode"],
            "files": [
                *writes,
                *self._record_first(present),
                *documents,
                *map(_removal, gone),
                *self._record_last(present),
            ],
            "remove_directories": [] if present else known,
        }

    def _takes(self, path: str, file: Mapping[str, Any]) -> bool:
        """Whether the file is there, or is to be made for this account."""
        shells = file.get("create_for")
        return shells is None or self.found["files"][path]["text"] is not None or self.found["shell"] in shells

    def _absolute(self, path: str) -> str:
        return f"{self.found['home']}{path[1:]}" if path.startswith("~/") else path

    def _own(self, path: str, file: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "path": path, "content": file["content"], "mode": file["mode"], "group": file.get("group", ""),
            "shown": not file.get("secret", False),
        }  # fmt: skip

    def _record_first(self, present: bool) -> Iterator[dict[str, Any]]:
        """Before the settings: what is put in is known even where the run ends in between."""
        if present:
            content = json.dumps(self.record, indent=1, sort_keys=True) + "\n"
            yield {"path": self._absolute(self.wanted["record"]), "content": content, "mode": "0600"}

    def _record_last(self, present: bool) -> Iterator[dict[str, Any]]:
        if not present:
            yield _removal(self._absolute(self.wanted["record"]))

    def _merged(self, path: str, file: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        seen = self.found["files"][path]
        entry = self.old.get("merged", {}).get(path)
        kind = file["format"] if file else entry["format"]
        if seen["error"]:
            raise Unreadable(seen["error"])
        settings = [(tuple(setting[0]), setting[1]) for setting in file["settings"]] if file else []
        change = merge(kind, seen["text"], settings, entry)
        for where in file.get("conflicts", []) if file else []:
            if _get(change.before, where["path"]) is not MISSING:
                self.result[where["level"]].append(
                    f"{path} of {self.wanted['user'] or 'the machine'} {where['message']}"
                )
        self.result["warnings"] += [
            f"{path} had {'.'.join(lost)} already: it is replaced, and not kept, as it can hold a secret."
            for lost in change.lost
        ]
        if file:
            self.record["merged"][path] = change.entry
        if change.text == seen["text"]:
            return []
        before, after = change.shown()
        return [
            {
                "path": path,
                "merged": True,
                "expected": seen["sha256"],
                "mode": file["mode"] if file else "0600",
                "remove": change.text is None,
                "content": change.text or "",
                "before": before,
                "after": after,
            }
        ]


def _removal(path: str) -> dict[str, Any]:
    return {"path": path, "remove": True}


class Change:
    """A merged file.

    Attributes:
        text: the new text; None for a file that goes.
        entry: what the record shall have on it.
        before: the file's data as they were.
        lost: paths of the values that were replaced and are not kept.
    """

    def __init__(self, before: dict[str, Any], after: dict[str, Any], text: str | None, entry: Entry) -> None:
        self.before, self.after, self.text, self.entry = before, after, text, entry
        self.lost: list[Path] = []

    def shown(self) -> tuple[str, str]:
        """What differs, a line each, before and after; foreign values with the name of a secret are hidden."""
        old, new = dict(_leaves(self.before)), dict(_leaves(self.after))
        ours = {tuple(setting["path"]) for setting in self.entry["settings"]}
        different = [path for path in {**old, **new} if old.get(path, MISSING) != new.get(path, MISSING)]
        before = [_line(path, old[path], SECRET_NAME.search(path[-1])) for path in different if path in old]
        after = [
            _line(path, new[path], path not in ours and SECRET_NAME.search(path[-1]))
            for path in different
            if path in new
        ]
        return "".join(before), "".join(after)


def merge(kind: str, text: str | None, settings: Sequence[tuple[Path, Any]], entry: Entry | None) -> Change:
    """Merge the role's settings into a file's text, and take out those of a former run that are not wanted any more.

    Args:
        kind: json, toml, or block (lines between two marks in a text).
        text: the present text; None without a file.
        settings: path of keys and value of each setting; for a block one with an empty path, the lines.
        entry: what the record has on the file.

    Raises:
        Unreadable: the text is not what it should be, or cannot hold the settings.
    """
    entry = entry or {"format": kind, "created": text is None, "settings": [], "parents": []}
    if kind == "block":
        return _merge_block(text, settings, entry)
    read, write, table = FORMATS[kind]
    document = read(text or "")
    before = _plain(document)
    after = copy.deepcopy(before)
    change = Change(before, after, text, {})
    change.entry = _merge_document(after, settings, entry, FORMATS["json"][2], change.lost)
    change.entry["created"] = entry["created"] or text is None
    if after == before:
        return change
    if not after and change.entry["created"] and not settings:
        change.text = None
        return change
    first = [] if kind == "json" else [path for path, _ in settings if len(path) == 1 and path[0] not in before]
    try:
        rest = [setting for setting in settings if setting[0] not in first]
        _merge_document(document, rest, entry, table, [])
        # at the top, where no table has begun and no comment is parted from what it is on
        head = tomlkit.dumps({path[0]: after[path[0]] for path in first}) if first else ""
        change.text = head + write(document, text or "")
        merged = _plain(read(change.text))
    except (KeyError, TypeError, tomlkit.exceptions.TOMLKitError):
        merged = None
    # the library keeps comments and order; that it also kept the meaning is looked up
    if merged != after:
        raise Unreadable("has a layout that cannot be edited safely")
    if not settings:
        # tables that went leave their blank lines
        change.text = change.text.rstrip("\n") + "\n" if change.text else ""
    return change


def _merge_document(
    document: Document,
    settings: Sequence[tuple[Path, Any]],
    entry: Entry,
    table: Table,
    lost: list[Path],
) -> Entry:
    former = {tuple(setting["path"]): setting for setting in entry["settings"]}
    parents = {tuple(parent) for parent in entry["parents"]}
    noted = []
    for path, value in settings:
        old = former.pop(path, None)
        current = _get(document, path)
        if current == value and type(current) is type(value):
            # what somebody had like this before is theirs
            noted += [old | {"sha256": _digest(value)}] if old else []
            continue
        note = {"path": list(path), "sha256": _digest(value)}
        if current is not MISSING:
            if old and _digest(current) == old["sha256"]:
                note |= {"replaced": old["replaced"]} if "replaced" in old else {}
            elif any(map(SECRET_NAME.search, path)) or not _storable(current):
                lost.append(path)
            else:
                note["replaced"] = current
        parents |= _set(document, path, value, table)
        noted.append(note)
    for path, old in former.items():
        current = _get(document, path)
        if current is not MISSING and _digest(current) == old["sha256"]:
            if "replaced" in old:
                _set(document, path, old["replaced"], table)
            else:
                _container(document, path[:-1]).pop(path[-1])
    needed = {path[:length] for path, _ in settings for length in range(1, len(path))}
    for parent in sorted(parents - needed, key=len, reverse=True):
        if _get(document, parent) == {}:
            _container(document, parent[:-1]).pop(parent[-1])
    return {"format": entry["format"], "settings": noted, "parents": sorted(map(list, parents & needed))}


def _set(document: Document, path: Path, value: object, table: Table) -> set[Path]:
    """Put a value in; return the paths of the tables that were made for it."""
    made, current = set(), document
    for index, name in enumerate(path[:-1]):
        if name not in current:
            # a table of tables alone needs no head of its own
            current[name] = table(current, index < len(path) - 2)
            made.add(path[: index + 1])
        current = current[name]
        if not isinstance(current, MutableMapping):
            raise Unreadable(f"has a {'.'.join(path[: index + 1])} that is no table of settings")
    if path[-1] in current and isinstance(current[path[-1]], MutableMapping) and not isinstance(value, Mapping):
        raise Unreadable(f"has a {'.'.join(path)} that is a table, not one value")
    current[path[-1]] = value
    return made


def _get(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The plain value at a path, or MISSING."""
    current: Any = document
    for name in path:
        if not isinstance(current, Mapping) or name not in current:
            return MISSING
        current = current[name]
    return _plain(current)


def _container(document: Document, path: Path) -> Document:
    for name in path:
        document = document[name]
    return document


def _plain(value: Any) -> Any:
    """A copy without the layout that tomlkit keeps beside each value."""
    return value.unwrap() if hasattr(value, "unwrap") else copy.deepcopy(value)


def _merge_block(text: str | None, settings: Sequence[tuple[Path, Any]], entry: Entry) -> Change:
    """Lines between two marks at the end of a text; see merge."""
    block = "".join(f"{BEGIN}\n{lines}\n{END}\n" for _, lines in settings)
    old = text or ""
    marked = re.compile(rf"^{re.escape(BEGIN)}\n(?:.*\n)*?{re.escape(END)}(?:\n|\Z)", re.MULTILINE)
    blocks = marked.findall(old)
    if old.count(BEGIN) != len(blocks) or old.count(END) != len(blocks):
        raise Unreadable(f"has '{BEGIN}' without its end: remove these lines")
    if len(blocks) == 1 and block:
        new = marked.sub(lambda _: block, old)
    else:
        rest = marked.sub("", old)
        new = rest + ("\n" if block and rest and not rest.endswith("\n") else "") + block
    created = entry["created"] or text is None
    noted = [{"path": [], "sha256": _digest(lines)} for _, lines in settings]
    change = Change({}, {}, new, {"format": "block", "created": created, "settings": noted, "parents": []})
    if not new and created:
        change.text = None
    elif text is None and not new:
        change.text = text
    change.before = {"lines": "".join(blocks)} if blocks else {}
    change.after = {"lines": block} if block else {}
    return change


def _read_json(text: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Unreadable(f"has '{twice[0]}' twice: remove one")
        return dict(pairs)

    if not text.strip():
        return {}
    try:
        document = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise Unreadable(f"is no JSON (line {error.lineno}, column {error.colno}): mend it") from None
    if not isinstance(document, dict):
        raise Unreadable("is no JSON object: mend it")
    return document


def _write_json(document: Document, text: str) -> str:
    indented = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    end = "\n" if text.endswith("\n") or not text else ""
    return json.dumps(document, indent=indented.group(1) if indented else 2, ensure_ascii=False) + end


def _read_toml(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as error:
        # the library repeats the line's position, not its content
        where = re.search(r"line \d+,? col(?:umn)? \d+", str(error))
        raise Unreadable(f"is no TOML{f' ({where.group()})' if where else ''}: mend it") from None


def _toml_table(parent: Any, alone: bool) -> Any:
    if isinstance(parent, tomlkit.items.InlineTable):
        return tomlkit.inline_table()
    return tomlkit.table(is_super_table=alone)


FORMATS: dict[str, tuple[Callable[[str], Any], Callable[[Any, str], str], Table]] = {
    "json": (_read_json, _write_json, lambda *_: {}),
    "toml": (
        _read_toml,
        lambda document, _: tomlkit.dumps(document),
        _toml_table,
    ),
}
"""How a format is read and written, and what a new table is (in which one, and whether it has tables alone)."""


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _storable(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _leaves(value: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, one in value.items():
        if isinstance(one, Mapping) and one:
            yield from _leaves(one, (*path, name))
        else:
            yield (*path, name), one


def _line(path: Path, value: object, hidden: object) -> str:
    if path == ("lines",):
        return str(value)
    shown = "(hidden)" if hidden else PASSWORD.sub("//(hidden)@", json.dumps(value, default=str))
    return f"{'.'.join(path)} = {shown}\n"


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_client_plan": plan}
