# `make demo` and `make test` are all that is needed, each from nothing and each right when run again.
# PYTHON=python3.12 chooses the Python, VENV=folder the virtual environment.

VENV ?= .venv
export PYTHON

# What Qt, OpenGL and a display without a screen need from the system.
DISPLAY_PACKAGES = xvfb xauth libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3 \
	libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 \
	libxcb-render-util0 libxcb-shape0 libxcb-xinerama0
VIRTUAL_DISPLAY = xvfb-run --auto-servernum --server-args="-screen 0 1920x1080x24"
NEEDED = pyproject.toml constraints.txt scripts/setup.sh scripts/system-packages.sh

heading = @printf '\n== %s ==\n' '$(1)'

.PHONY: help demo test setup setup-test lint types imports manifest pytest format clean
.NOTPARALLEL:

help:
	@echo "make demo    segment a sample with the bundled model, results in demo/"
	@echo "make test    run every check that CI runs"
	@echo "make setup   only make $(VENV); make setup-test: with what the tests need"
	@echo "make lint types imports manifest pytest   run one check"
	@echo "make format  sort imports and format the code"
	@echo "make clean   remove everything that these commands made, $(VENV) included"

demo: setup
	$(VENV)/bin/feedback-seg demo --output demo --overwrite

test: lint types imports manifest pytest

setup: $(VENV)/.setup

setup-test: $(VENV)/.setup-test

$(VENV)/.setup: $(NEEDED)
	$(call heading,Setting up $(VENV): this takes minutes the first time)
	scripts/setup.sh $(VENV)
	@touch $@

$(VENV)/.setup-test: $(NEEDED)
	$(call heading,Setting up $(VENV) for the tests: this takes minutes the first time)
	scripts/setup.sh $(VENV) test
	@touch $@ $(VENV)/.setup

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

pytest: setup-test
	$(call heading,Tests)
	scripts/system-packages.sh $(DISPLAY_PACKAGES)
	env -u OMP_NUM_THREADS QT_QPA_PLATFORM=xcb QT_API=pyside6 NAPARI_STRICT_QT=1 \
		$(VIRTUAL_DISPLAY) $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

format: setup-test
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +
