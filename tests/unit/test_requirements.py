"""What is installed is pinned, by hash, from no particular index."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ansible_collections
import pytest
import yaml
from litellm_proxy_validate import faults
from role_settings import DEFAULTS, ROLE, ROOT, settings

LOCKS = [
    *sorted((ROOT / "requirements").glob("*.txt")),
    *sorted(path.with_suffix(".txt") for path in (ROLE / "files" / "locks").glob("*.in")),
    ROOT / "zai_simulator" / "requirements.txt",
    ROOT / "molecule" / "clients" / "programs" / "requirements.txt",
]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)")
by_name = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))


def requirements(lock: Path) -> Iterator[str]:
    """The requirements of a lock, each with its continuation lines."""
    text = re.sub(r"(?m)^\s*#.*\n?", "", lock.read_text())
    yield from filter(None, (line.strip() for line in text.replace("\\\n", " ").splitlines()))


@by_name
def test_every_requirement_is_pinned_with_a_hash(lock: Path) -> None:
    found = list(requirements(lock))
    assert found
    assert [line for line in found if not PIN.match(line) or "--hash=sha256:" not in line] == []


@by_name
def test_no_lock_names_a_package_index(lock: Path) -> None:
    assert not re.search(r"https?://|--(extra-)?index|--find-links|--trusted-host", lock.read_text())


@by_name
def test_no_lock_holds_a_litellm_that_the_role_bans(lock: Path) -> None:
    pins = [PIN.match(line) for line in requirements(lock)]
    versions = [pin[2] for pin in pins if pin and pin[1].lower() == "litellm"]
    assert [faults(settings(version=version), [version]) for version in versions] == [[]] * len(versions)


def test_litellm_lock_pins_the_version_in_its_name() -> None:
    locks = [lock for lock in LOCKS if lock.name.startswith("litellm-")]
    assert locks
    for lock in locks:
        assert f"litellm=={lock.stem.removeprefix('litellm-')}" in lock.read_text()


def test_default_version_is_shipped() -> None:
    assert ROLE / "files" / "locks" / f"litellm-{DEFAULTS['litellm_proxy_version']}.txt" in LOCKS


def test_another_version_is_shipped_to_go_to_and_come_back_from() -> None:
    assert len([lock for lock in LOCKS if lock.name.startswith("litellm-")]) >= 2


@by_name
def test_every_lock_comes_from_its_input(lock: Path) -> None:
    """A lock of which `make lock` knows nothing would never be renewed."""
    inputs = [lock.with_suffix(".in"), ROOT / "requirements" / "simulator.in"]
    assert inputs[lock.parent.name == "zai_simulator"].is_file()


def test_litellm_locks_have_nothing_that_the_role_leaves_out() -> None:
    excludes = (ROLE / "files" / "locks" / "excludes.txt").read_text()
    left_out = {line for line in excludes.splitlines() if line and not line.startswith("#")}
    assert "litellm-enterprise" in left_out
    for lock in [lock for lock in LOCKS if lock.name.startswith("litellm-")]:
        pins = {pin[1].lower() for pin in map(PIN.match, requirements(lock)) if pin}
        assert pins & left_out == set()


def test_version_without_a_lock_is_not_installed_for_tests() -> None:
    done = subprocess.run([ROOT / "scripts/litellm-venv.sh", "9.9.9"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no roles/litellm_proxy/files/locks/litellm-9.9.9.txt" in done.stderr


def test_collections_are_those_of_the_tool_chain() -> None:
    wanted = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    installed = {}
    for place in ansible_collections.__path__:
        for entry in wanted:
            manifest = Path(place, *entry["name"].split("."), "MANIFEST.json")
            if manifest.is_file():
                installed[entry["name"]] = json.loads(manifest.read_text())["collection_info"]["version"]
    assert installed == {entry["name"]: entry["version"] for entry in wanted}


def test_the_lock_for_npm_has_a_hash_for_each_package_and_names_no_registry() -> None:
    programs = ROOT / "molecule" / "clients" / "programs"
    lock = json.loads((programs / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
    wanted = json.loads((programs / "package.json").read_text())["dependencies"]
    assert [version for version in wanted.values() if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version)] == []
