#!/usr/bin/env bash
# What Molecule's scenarios run on: a Docker Engine and the images of the test hosts. `test-hosts.sh litellm` makes the
# stand-in for LiteLLM's image too.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/ensure-docker.sh
molecule/shared/images/build.sh bookworm trixie
molecule/shared/images/simulator.sh
[ "${1:-}" != litellm ] || molecule/shared/images/litellm.sh 1.108.11
