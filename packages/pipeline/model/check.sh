#!/bin/sh
# Trains the model again in a Python environment of its own (kept in node_modules/.cache) and compares with what is
# committed. PYTHON names the interpreter. Exit code 1: something differs; 69: it could not be tried here.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
venv=../../../node_modules/.cache/weft-model
if ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "training needs Python 3.11 or later with venv, and \"$python\" is not: set PYTHON to another one" >&2
  exit 69
fi
if ! cmp -s requirements.txt "$venv/installed.txt"; then
  echo "Making a Python environment in node_modules/.cache/weft-model"
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  "$python" -m venv "$venv" || exit 69
  if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement requirements.txt; then
    echo "the packages that training needs could not be installed" >&2
    exit 69
  fi
  cp requirements.txt "$venv/installed.txt"
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" train.py --check
