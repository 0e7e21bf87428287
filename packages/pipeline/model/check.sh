#!/bin/sh
# Trains the model again in a Python environment of its own (kept in node_modules/.cache) and compares with what is
# committed. PYTHON names the interpreter; scikit-learn's pinned version needs 3.11 or later.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
venv=../../../node_modules/.cache/weft-model
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "The model is trained with Python 3.11 or later; $("$python" --version) was found. Set PYTHON to another one." >&2
  exit 1
fi
if ! cmp -s requirements.txt "$venv/installed.txt"; then
  echo "Making a Python environment in node_modules/.cache/weft-model"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement requirements.txt
  cp requirements.txt "$venv/installed.txt"
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" train.py --check
