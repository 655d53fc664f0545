#!/usr/bin/env bash
# Build glm-pool-simulator:bookworm, the test host of the simulated Z.AI, from glm-pool-test:bookworm and the packages that
# the simulator runs on. An image that was built by this very recipe is kept.
set -euo pipefail
cd "$(dirname "$0")"
base=glm-pool-test:bookworm
tag=glm-pool-simulator:bookworm
requirements=../../../zai_simulator/requirements.txt

label_of() { docker image inspect --format '{{ index .Config.Labels "recipe" }}' "$1" 2>/dev/null || true; }
recipe=$( (label_of "$base"; cat simulator.sh "$requirements") | sha256sum | cut -c1-12)

if [ "$(label_of "$tag")" = "$recipe" ]; then
  printf '== image %s is there\n' "$tag"
  exit 0
fi
printf '== building image %s (about half a minute)\n' "$tag"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$requirements" "$work"
cat >"$work/Dockerfile" <<DOCKERFILE
FROM $base
COPY requirements.txt /opt/zai-simulator-requirements.txt
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv \\
 && rm -rf /var/lib/apt/lists/* \\
 && python3 -m venv /opt/zai-simulator-venv \\
 && PIP_CERT=/etc/ssl/certs/ca-certificates.crt /opt/zai-simulator-venv/bin/pip install --quiet --no-cache-dir \\
    --require-hashes --requirement /opt/zai-simulator-requirements.txt
LABEL recipe=$recipe
DOCKERFILE
# the builder of the engine itself: BuildKit is another package
if ! DOCKER_BUILDKIT=0 docker build --network host --tag "$tag" "$work" >"$work/log" 2>&1; then
  tail -n 30 "$work/log" >&2
  printf 'images: image %s could not be built; the lines above say why\n' "$tag" >&2
  exit 1
fi
