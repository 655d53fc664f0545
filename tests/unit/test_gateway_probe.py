"""What the role learns of a host that shall run the front."""

import hashlib
from pathlib import Path
from typing import Any

import litellm_gateway_probe as probe
import pytest


class Ended(Exception):
    """Ends the module in place of the process."""


def run(monkeypatch: pytest.MonkeyPatch, **parameters: object) -> dict[str, Any]:
    """What the module returns; options that are not given have their defaults."""

    class Module:
        def __init__(self, argument_spec: dict[str, dict[str, Any]], **_: object) -> None:
            assert {name for name, one in argument_spec.items() if one.get("required")} <= set(parameters)
            self.params = {name: parameters.get(name, one.get("default")) for name, one in argument_spec.items()}

        def exit_json(self, **result: object) -> None:
            raise Ended(result)

    monkeypatch.setattr(probe, "AnsibleModule", Module)
    with pytest.raises(Ended) as ended:
        probe.main()
    found: dict[str, Any] = ended.value.args[0]
    return found


def test_what_was_loaded_is_compared_with_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded, config, missing = (tmp_path / name for name in ("loaded", "config", "missing"))
    config.write_text("one\n")
    given = {"loaded": str(loaded), "content": [str(config), str(missing)]}
    assert run(monkeypatch, **given)["up_to_date"] is False
    loaded.write_text(hashlib.sha256(b"one\n").hexdigest() + "\n")
    assert run(monkeypatch, **given)["up_to_date"] is True
    config.write_text("two\n")
    assert run(monkeypatch, **given)["up_to_date"] is False


def test_traces_are_named_also_as_links_to_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    current, unit = tmp_path / "current", tmp_path / "unit"
    current.symlink_to(tmp_path / "generations")
    found = run(monkeypatch, loaded="/none", content=[], traces=[str(current), str(unit)])
    assert found["traces"] == [str(current)]
