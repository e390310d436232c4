# `make demo` and `make test` are all that is needed, each from nothing and each right when run again.
# PYTHON=python3.12 chooses the Python, VENV=folder the virtual environment.

VENV ?= .venv
export PYTHON

# What Qt and OpenGL need from the system, and a display without a screen.
QT_PACKAGES = libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon-x11-0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 \
	libxcb-shape0 libxcb-xinerama0
DISPLAY_PACKAGES = xvfb xauth $(QT_PACKAGES)
VIRTUAL_DISPLAY = xvfb-run --auto-servernum --server-args="-screen 0 1920x1080x24"
SYSTEM := $(shell uname)
# Is there a screen to open napari on? If not, napari and Qt are not installed for the demo.
SCREEN := $(or $(DISPLAY),$(WAYLAND_DISPLAY),$(if $(SSH_CONNECTION),,$(filter Darwin,$(SYSTEM))))
NEEDED = pyproject.toml constraints.txt scripts/setup.sh scripts/system-packages.sh

heading = @printf '\n== %s ==\n' '$(1)'

.PHONY: help demo test setup setup-test lint types imports manifest docs package pytest coverage release-check format clean
.NOTPARALLEL:

help:
	@echo "make demo    segment a sample with the bundled model, results in demo/; open napari on them"
	@echo "make test    run every check that CI runs"
	@echo "make setup   only make $(VENV); make setup-test: with what the tests need"
	@echo "make lint types imports manifest docs package pytest   run one check"
	@echo "make coverage       run the tests, and print how much of the code they run"
	@echo "make release-check  build the packages, and try the wheel in a new environment"
	@echo "make docs    build the documentation into build/site"
	@echo "make format  sort imports and format the code"
	@echo "make clean   remove everything that these commands made, $(VENV) included"

demo: setup
	$(VENV)/bin/feedback-seg demo --output demo --overwrite
	$(if $(SCREEN),$(open-demo))

# What the system lacks is asked for, but napari may do without.
define open-demo
@printf '\n== napari opens on demo/: close its window to end ==\n'
@$(if $(filter Linux,$(SYSTEM)),scripts/system-packages.sh $(QT_PACKAGES) || true)
@$(VENV)/bin/python -m napari_feedback_seg.plugin.contributions.open_demo demo || \
	echo 'napari could not be opened (docs/install.md may help). The results are in demo/.'
endef

test: lint types imports manifest docs package pytest

setup: $(VENV)/.setup$(if $(SCREEN),-napari)

setup-test: $(VENV)/.setup-test

$(VENV)/.setup: $(NEEDED)
	$(call heading,Setting up $(VENV): this takes minutes the first time)
	scripts/setup.sh $(VENV)
	@touch $@

$(VENV)/.setup-napari: $(NEEDED)
	$(call heading,Setting up $(VENV) with napari: this takes minutes the first time)
	scripts/setup.sh $(VENV) all
	@touch $@ $(VENV)/.setup

$(VENV)/.setup-test: $(NEEDED)
	$(call heading,Setting up $(VENV) for the tests: this takes minutes the first time)
	scripts/setup.sh $(VENV) test
	@touch $@ $(VENV)/.setup $(VENV)/.setup-napari

lint: setup-test
	$(call heading,Lint)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: setup-test
	$(call heading,Types)
	$(VENV)/bin/mypy

imports: setup-test
	$(call heading,Import rules)
	$(VENV)/bin/lint-imports

manifest: setup-test
	$(call heading,Manifest)
	$(VENV)/bin/npe2 validate src/napari_feedback_seg/napari.yaml

docs: setup-test
	$(call heading,Documentation)
	env NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo 'Open build/site/index.html to read it.'

# Without isolation: what builds them is there already, and is what was tested.
package: setup-test
	$(call heading,Packages)
	rm -rf build/dist && mkdir -p build
	$(VENV)/bin/python -m build --no-isolation --outdir build/dist >build/log 2>&1 || { cat build/log; exit 1; }
	$(VENV)/bin/twine check --strict build/dist/*
	$(VENV)/bin/check-wheel-contents build/dist/*.whl
	$(VENV)/bin/python scripts/check_package.py build/dist

release-check: package
	$(call heading,The wheel in a new environment: this takes minutes)
	scripts/try_wheel.sh build/dist build/try

coverage: setup-test
	$(MAKE) pytest PYTEST_ARGS="--cov --cov-report=term:skip-covered $(PYTEST_ARGS)" COVERAGE_CORE=sysmon

# A thread for each of the two processes: numba, which draws labels in napari, would give torch more again.
pytest: setup-test
	$(call heading,Tests)
	scripts/system-packages.sh $(DISPLAY_PACKAGES)
	env OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 QT_QPA_PLATFORM=xcb QT_API=pyside6 NAPARI_STRICT_QT=1 \
		$(VIRTUAL_DISPLAY) $(VENV)/bin/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

format: setup-test
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests benchmarks examples scripts -name __pycache__ -prune -exec rm -rf {} +
