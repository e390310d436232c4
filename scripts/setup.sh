#!/bin/sh
# Make the virtual environment VENV, or bring it up to date, with the versions of constraints.txt.
# Usage: scripts/setup.sh VENV [EXTRAS], where EXTRAS are extras of pyproject.toml, as in "test".
set -eu
cd "$(dirname "$0")/.."
venv=$1
extras=${2:+"[$2]"}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed, and none was found. Install one, or say PYTHON=/where/it/is." >&2
    return 1
}

has_pip() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null || echo file)" ]; then
    echo "$venv is there already and is no virtual environment. Choose another folder: VENV=other." >&2
    exit 1
fi
has_pip || "$venv/bin/python" -m ensurepip >/dev/null 2>&1 || true
if ! has_pip; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        scripts/system-packages.sh "python$version-venv"
    fi
    "$python" -m venv --clear "$venv"
fi

# torch first and by itself: a build for the CPU or for another GPU that is already there stays.
torch=$(grep '^torch==' constraints.txt)
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$venv/bin/python" -m pip install --constraint constraints.txt "$torch"
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".$extras"
