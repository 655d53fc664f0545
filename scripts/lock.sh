#!/usr/bin/env bash
# Compile every requirements file (*.in) into its lock with hashes (*.txt). Run by `make lock`.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_CUSTOM_COMPILE_COMMAND="make lock"
uv=.venv/bin/uv
compile() { "$uv" pip compile --quiet --generate-hashes --universal "$@"; }

compile --python-version 3.11 requirements/uv.in --output-file requirements/uv.txt
compile --python-version 3.11 requirements/tools.in --output-file requirements/tools.txt
compile --python-version 3.11 requirements/simulator.in --output-file zai_simulator/requirements.txt
compile --python-version 3.13 molecule/clients/programs/requirements.in --output-file molecule/clients/programs/requirements.txt
# The role's locks serve every Python that LiteLLM supports on the tested systems, from 3.10 (Ubuntu 22.04) on.
locks=roles/litellm_proxy/files/locks
for name in uv supervisor; do
  compile --python-version 3.10 "$locks/$name.in" --output-file "$locks/$name.txt"
done
for input in "$locks"/litellm-*.in; do
  compile --python-version 3.10 --overrides "$locks/overrides.txt" --excludes "$locks/excludes.txt" \
    "$input" --output-file "${input%.in}.txt"
done
