#!/bin/sh
# Test with the oldest versions that pyproject.toml allows, or with the newest that there are.
# Usage: scripts/test_versions.sh lowest-direct|highest PYTHON [PYTEST ARGUMENTS]; needs uv.
set -eu
cd "$(dirname "$0")/.."
resolution=$1
python=$2
shift 2
venv=build/$resolution-$python
uv venv --quiet --clear --python "$python" "$venv"
uv pip install --quiet --python "$venv/bin/python" --resolution "$resolution" \
    --index-strategy unsafe-best-match --editable ".[test]"
"$venv/bin/feedback-seg" info
scripts/system-packages.sh xvfb xauth libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 \
    libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0
env OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 QT_QPA_PLATFORM=xcb QT_API=pyside6 NAPARI_STRICT_QT=1 \
    xvfb-run --auto-servernum --server-args="-screen 0 1920x1080x24" \
    "$venv/bin/python" -m pytest -n 2 --dist worksteal -m "not slow" "$@"
