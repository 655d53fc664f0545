#!/usr/bin/env bash
# What Molecule's scenarios run on: a Docker Engine and the images of the test hosts.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/ensure-docker.sh
molecule/shared/images/build.sh bookworm trixie
