"""The modules of the roles import what they share from where Ansible puts it."""

from pathlib import Path

import ansible.module_utils

for directory in Path(__file__).resolve().parents[1].glob("roles/*/module_utils"):
    ansible.module_utils.__path__.append(str(directory))
