"""Filter that tells what a generation's directories hold."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any


def files_below(files: Sequence[Mapping[str, Any]], directories: Sequence[str]) -> dict[str, str]:
    """Mode and checksum, as `0640 5f1c…`, by path below the directory that a file lies in.

    Args:
        files: the `files` that ansible.builtin.find reports, with checksums.
        directories: absolute paths; files elsewhere are left out.
    """
    return {
        str(PurePosixPath(file["path"]).relative_to(directory)): f"{file['mode']} {file['checksum']}"
        for directory in directories
        for file in files
        if PurePosixPath(file["path"]).is_relative_to(directory)
    }


class FilterModule:
    """Entry point that Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"litellm_proxy_files_below": files_below}
