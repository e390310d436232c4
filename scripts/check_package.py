"""Check built packages: their size, and that nothing is missing or foreign. Usage: check_package.py DIST."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

LARGEST_WHEEL_MB = 25
NEEDED = (
    "napari_feedback_seg/napari.yaml",
    "napari_feedback_seg/py.typed",
    "napari_feedback_seg/models/bundled/general.safetensors",
    "napari_feedback_seg/docs/get-started.md",
)


def main(dist: Path) -> str | None:
    """Return what is wrong with the packages in a folder, if anything is."""
    wheels, sources = list(dist.glob("*.whl")), list(dist.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sources) != 1:
        return f"{dist} holds {len(wheels)} wheels and {len(sources)} source packages, not one of each."
    size = wheels[0].stat().st_size / 1e6
    if size >= LARGEST_WHEEL_MB:
        return f"The wheel has {size:.1f} MB; {LARGEST_WHEEL_MB} are allowed."
    names = ZipFile(wheels[0]).namelist()
    if missing := [name for name in NEEDED if name not in names]:
        return f"The wheel lacks {', '.join(missing)}."
    if foreign := [n for n in names if not n.startswith(("napari_feedback_seg/", "napari_feedback_seg-"))]:
        return f"The wheel holds what is not of the package: {', '.join(foreign[:3])}."
    with tarfile.open(sources[0]) as archive:
        inside = {member.name.partition("/")[2] for member in archive}
    if missing := {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "tests/conftest.py"} - inside:
        return f"The source package lacks {', '.join(sorted(missing))}."
    print(f"{wheels[0].name}: {size:.1f} MB, {len(names)} files; {sources[0].name}: {len(inside)} files")
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
