#!/bin/sh
# Run by the Dockerfile, in the folder with pyproject.toml:
#   install.sh packages EXTRA[,EXTRA] CONSTRAINTS   what the extras need, in the pinned versions
#   install.sh slim                                 less of what only the operator uses
#   install.sh project                              Assay itself, beside them
# pip.conf and a private authority's bundle are mounted meanwhile: uv, too, is told of them here.
set -eu
tools=/opt/tools/bin
environment=/opt/assay

case "$1" in
packages)
  index=$("$tools/pip" config get global.index-url 2>/dev/null || true)
  if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
  if [ -s /run/secrets/ca.crt ]; then export SSL_CERT_FILE=/run/secrets/ca.crt; fi
  export UV_HTTP_TIMEOUT=300 UV_NO_CACHE=1
  # Without pip: nothing is installed into an image that runs.
  python3 -m venv --without-pip "$environment"
  extras=$(printf -- '--extra %s ' $(printf %s "$2" | tr , ' '))
  # shellcheck disable=SC2086  (one word per extra)
  "$tools/uv" pip compile pyproject.toml --quiet --python "$environment/bin/python" $extras \
    --constraint "$3" --override constraints/overrides.txt --no-annotate --no-header \
    --no-emit-index-url --output-file /tmp/packages.txt
  "$tools/uv" pip install --quiet --compile-bytecode --python "$environment/bin/python" \
    --no-deps -r /tmp/packages.txt
  ;;
slim)
  # Named as a need by the SDK of PyTorchJobs, used by nothing.
  "$tools/uv" pip uninstall --quiet --python "$environment/bin/python" setuptools
  python3 /opt/tools/bin/slim.py "$environment"/lib/python3.*/site-packages
  ;;
project)
  "$tools/python" -m hatchling build --target wheel --directory /tmp/wheel
  "$tools/uv" pip install --quiet --no-cache --compile-bytecode --python "$environment/bin/python" \
    --offline --no-deps /tmp/wheel/*.whl
  rm -f "$environment/.lock"
  ;;
*)
  echo "install.sh: $1: packages, slim or project is allowed" >&2
  exit 2
  ;;
esac
