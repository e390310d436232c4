#!/bin/sh
# Install the wheel of a folder into a new environment, and try it: the demo, and the plugin without a screen.
# Usage: scripts/try_wheel.sh DIST ENVIRONMENT
set -eu
cd "$(dirname "$0")/.."
wheel=$(ls "$1"/*.whl)
venv=$2
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt "$(grep '^torch==' constraints.txt)"

# For the command line alone: neither napari nor Qt.
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt "$wheel"
"$venv/bin/python" -m pip check
"$venv/bin/feedback-seg" info
"$venv/bin/feedback-seg" demo --output "$venv/demo"

# With napari, as a person has it.
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt "napari[pyside6]" "PySide6!=6.12.0"
QT_QPA_PLATFORM=offscreen "$venv/bin/python" -I scripts/check_installed.py
