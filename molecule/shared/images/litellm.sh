#!/usr/bin/env bash
# Build what stands in for LiteLLM's official image, from Debian's packages and the role's lock: `litellm.sh VERSION` makes
# glm-pool-litellm:VERSION. As in the official one, `litellm` and `sh` are on the path and the server runs as root unless
# told otherwise. An image that was built by this very recipe is kept.
set -euo pipefail
cd "$(dirname "$0")"
version=$1
suite=trixie
tag=glm-pool-litellm:$version
locks=../../../roles/litellm_proxy/files/locks
recipe=$(cat litellm.sh "$locks/uv.txt" "$locks/litellm-$version.txt" | sha256sum | cut -c1-12)

say() { printf '== %s\n' "$*"; }
die() { printf 'images: %s\n' "$*" >&2; exit 1; }
recipe_of() { docker image inspect --format '{{ index .Config.Labels "recipe" }}' "$1" 2>/dev/null || true; }

if [ "$(recipe_of "$tag")" = "$recipe" ]; then
  say "image $tag is there"
  exit 0
fi
say "building image $tag (about two minutes)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
fail() { tail -n 30 "$log" >&2; die "image $tag could not be built; the lines above say why"; }

# setsid: mmdebstrap signals its whole process group when it fails
setsid -w mmdebstrap --variant=essential --include=python3-minimal,python3-venv,libstdc++6,ca-certificates \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
  --customize-hook='upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' \
  "$suite" - 2>"$log" | docker import - "glm-pool-python:$suite" >>"$log" 2>&1 || fail

cp "$locks/uv.txt" "$work/uv.txt"
# the proxy needs none of these: the image is smaller, and quicker to push and to pull
awk '/^[^ #]/ { skip = /^(polars|polars-runtime-32|granian|pyroscope-io|hf-xet)==/ } !skip' \
  "$locks/litellm-$version.txt" >"$work/litellm.txt"
cat >"$work/Dockerfile" <<DOCKERFILE
FROM glm-pool-python:$suite
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY uv.txt litellm.txt /tmp/
RUN python3 -m venv /tmp/installer && PIP_CERT=\$SSL_CERT_FILE /tmp/installer/bin/pip install --quiet --require-hashes -r /tmp/uv.txt \\
 && /tmp/installer/bin/uv venv --quiet --python /usr/bin/python3 /app/.venv \\
 && /tmp/installer/bin/uv pip install --quiet --no-cache --python /app/.venv/bin/python --require-hashes --no-deps -r /tmp/litellm.txt \\
 && { python -m compileall -q -j 0 /app/.venv/lib || [ \$? -eq 1 ]; } \\
 && rm -rf /tmp/* /root/.cache
WORKDIR /app
EXPOSE 4000/tcp
ENTRYPOINT ["litellm"]
CMD ["--port", "4000"]
LABEL recipe=$recipe
DOCKERFILE
# the builder of the engine itself: BuildKit is another package
DOCKER_BUILDKIT=0 docker build --network host --tag "$tag" "$work" >"$log" 2>&1 || fail
docker image rm "glm-pool-python:$suite" >/dev/null 2>&1 || true
