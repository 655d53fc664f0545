"""Make README.md's tables of variables from the roles' argument specifications.

python scripts/variables_table.py            print the tables
python scripts/variables_table.py --write    put them between the markers in README.md
python scripts/variables_table.py --check    exit 1 when README.md differs
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROLES = {
    "litellm_proxy": "the proxy",
    "litellm_gateway": "the gateway in front of it",
    "litellm_datastore": "Redis for what several proxies agree on",
    "litellm_client": "workstations and build machines that use it",
}
"""Directory below roles/ and what the role is."""
README = "README.md"
BEGIN, END = "<!-- variables: begin -->", "<!-- variables: end -->"

Options = Mapping[str, Mapping[str, Any]]


def load_options(path: Path) -> Options:
    """Read the options of the entry point `main`, by variable name."""
    options: Options = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    return options


def specification(role: str) -> str:
    """Path of a role's argument specification below the project."""
    return f"roles/{role}/meta/argument_specs.yml"


def chapters(root: Path) -> str:
    """Render the tables of all roles, each with a line that says whose they are."""
    return "\n\n".join(
        f"Of the role `{role}`, {what}:\n\n{tables(load_options(root / specification(role)), role)}"
        for role, what in ROLES.items()
    )


def tables(options: Options, role: str) -> str:
    """Render one table of the variables and one of the fields of the structured ones."""
    parts = [_table("Variable", list(options.items()), role)]
    fields = [
        (f"{name}{'[]' if variable['type'] == 'list' else ''}.{field}", option)
        for name, variable in options.items()
        for field, option in variable.get("options", {}).items()
    ]
    if fields:
        parts += ["The fields of an entry:", _table("Field", fields, role)]
    return "\n\n".join(parts)


def replace_between_markers(text: str, content: str) -> str:
    """Return `text` with `content` between the markers.

    Raises:
        ValueError: the markers are not there exactly once and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in head + tail:
        raise ValueError(f"needs the lines '{BEGIN}' and '{END}' once each, in this order")
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Print, write or check the tables; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="put the tables into README.md")
    action.add_argument("--check", action="store_true", help="exit 1 when README.md differs")
    arguments = parser.parse_args(argv)
    content = chapters(root)
    if not arguments.write and not arguments.check:
        print(content)
        return 0
    readme = root / README
    try:
        text = readme.read_text()
        wanted = replace_between_markers(text, content)
    except (OSError, ValueError) as error:
        print(f"{README}: {error}", file=sys.stderr)
        return 1
    if arguments.write:
        readme.write_text(wanted)
    elif wanted != text:
        print(
            f"{README}: the tables of variables differ from the roles' argument_specs.yml; "
            "run: .venv/bin/python scripts/variables_table.py --write",
            file=sys.stderr,
        )
        return 1
    return 0


def _table(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], role: str) -> str:
    lines = [f"| {title} | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {_default(option, role)} | {_cell(option['description'])} |" for name, option in rows]
    return "\n".join(lines)


def _default(option: Mapping[str, Any], role: str) -> str:
    """The default as the table shows it; a long one is told in words or in the file of the defaults."""
    if "default" not in option:
        return "none"
    value = option["default"]
    if (isinstance(value, str) and "{{" in value) or (isinstance(value, list | dict) and value):
        return f"[see defaults](roles/{role}/defaults/main.yml)"
    return _cell(f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
