"""The package imports quickly, offers its public names, and declares what it imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

import napari_feedback_seg

SOURCE = Path(napari_feedback_seg.__file__).parent
NOT_IMPORTED_BY_NAME = {"imagecodecs"}  # tifffile takes it for compressed files
FOR_THE_PLUGIN = {"pyqtgraph"}  # declared, as napari does not bring it
IN_AN_EXTRA = {"bioimageio-spec", "distributed", "onnxruntime"}  # imported where they are needed, if there
BROUGHT_BY_NAPARI = {
    "dask",
    "docstring_parser",
    "magicgui",
    "napari",
    "numpy",
    "psygnal",
    "pydantic",
    "qtpy",
    "superqt",
    "vispy",
}


def modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


def imports_in(folder: Path, *, outside: str = "") -> set[str]:
    """Return the top-level modules that the files of a folder import, `outside` left out."""
    found = set()
    for path in folder.rglob("*.py"):
        if outside and outside in path.relative_to(folder).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"napari_feedback_seg"}


def test_importing_the_package_loads_neither_torch_nor_qt():
    loaded = modules_loaded_by("import napari_feedback_seg")
    heavy = {"torch", "monai", "napari", "qtpy", "PySide6", "PyQt6", "PyQt5", "numpy"}
    assert "napari_feedback_seg" in loaded
    assert not loaded & heavy


def test_segmenting_a_plain_section_loads_only_what_it_needs():
    section = "numpy.random.default_rng(0).normal(128, 9, (300, 300)).astype('uint8')"
    loaded = modules_loaded_by(
        f"import numpy; from napari_feedback_seg import segment; segment({section}, 'unet-w16', device='cpu')"
    )
    assert "torch" in loaded
    unwanted = {"scipy", "skimage", "monai", "sympy", "pandas", "napari", "qtpy", "dask", "zarr"}
    if Version(metadata.version("torch")) < Version("2.13"):
        unwanted.remove("sympy")  # which torch 2.8 needs for a network whose weights come later
    assert not loaded & unwanted


@pytest.mark.parametrize("name", napari_feedback_seg.__all__)
def test_every_public_name_is_there(name):
    assert getattr(napari_feedback_seg, name) is not None
    assert name in dir(napari_feedback_seg)


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segmant'"):
        _ = napari_feedback_seg.segmant


def test_dependencies_are_those_that_the_code_imports():
    required = metadata.requires("napari-feedback-seg") or []
    declared = {re.match(r"[\w.-]+", line).group() for line in required if "extra ==" not in line}
    distributions = metadata.packages_distributions()
    distributions["bioimageio"] = ["bioimageio-spec"]  # a folder that it shares with others
    imported = {distributions[module][0].lower() for module in imports_in(SOURCE, outside="plugin")}
    assert imported - IN_AN_EXTRA == declared - NOT_IMPORTED_BY_NAME - FOR_THE_PLUGIN
    assert {re.match(r"[\w.-]+", line).group() for line in required if "extra ==" in line} >= IN_AN_EXTRA
    assert declared >= FOR_THE_PLUGIN


def test_plugin_imports_only_what_napari_brings():
    plugin = imports_in(SOURCE / "plugin")
    core = imports_in(SOURCE, outside="plugin")
    assert plugin <= core | BROUGHT_BY_NAPARI | FOR_THE_PLUGIN
