"""Choose a model, read its card, import another."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QTextBrowser,
    QWidget,
)

from napari_feedback_seg.errors import ModelError
from napari_feedback_seg.plugin.forms.fold import Fold
from napari_feedback_seg.plugin.forms.options_form import narrow
from napari_feedback_seg.plugin.forms.row import button

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_feedback_seg.models.library import ModelEntry
    from napari_feedback_seg.models.model import ModelCard, TrainingData
    from napari_feedback_seg.plugin.session.session import Session


class ModelBox(QWidget):
    """The chooser of models; ``fold``, to be placed by its owner, shows the card of the chosen one."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.chooser = _Chooser(session)
        self.chooser.setToolTip(
            "<qt>The models that come with the plugin, and those in your models folder (Alt+M)</qt>"
        )
        narrow(self.chooser)
        self.import_button = button(
            "Add...", "Add a model file (.safetensors) or a bioimage.io package (.zip)"
        )
        self.card_text = QTextBrowser()
        self.card_text.setFixedHeight(180)
        self.fold = Fold("About this model", self.card_text)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.chooser, 1)
        layout.addWidget(self.import_button)
        self.chooser.activated.connect(self._choose)
        self.import_button.clicked.connect(self._ask_for_file)
        session.changed.connect(self._draw)
        self._draw("model")

    def import_file(self, path: str | Path) -> None:
        """Copy a model file into the user's models folder, and choose it."""

        def work() -> Generator[None, None, str]:
            from napari_feedback_seg.models.library import import_to_library

            yield
            return import_to_library(Path(path))

        self._session.jobs.run(work, title="Importing a model", on_done=self._imported)

    def _imported(self, name: str) -> None:
        self._session.refresh_models(name)
        show_info(f"The model '{name}' is in your models folder now.")

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Add a model", "", "Models (*.safetensors *.zip)")
        if path:
            self.import_file(path)

    def _choose(self, index: int) -> None:
        self._session.model_name = self.chooser.itemData(index)

    def _draw(self, part: str) -> None:
        if part != "model":
            return
        self.chooser.clear()
        for entry in self._session.models:
            self.chooser.addItem(entry.name if entry.card else f"{entry.name} (damaged)", entry.name)
        self.chooser.setCurrentIndex(self.chooser.findData(self._session.model_name))
        self.card_text.setHtml(entry_text(self._session.entry))


class _Chooser(QComboBox):
    """Reads the library again before it shows it: a file may have come or gone."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def showPopup(self) -> None:
        """Show the models that there are now."""
        self._session.refresh_models()
        super().showPopup()


def entry_text(entry: ModelEntry | None) -> str:
    """Return what a person reads of a model, as rich text."""
    if entry is None:
        return "There is no model. Import one, or install the plugin again."
    if entry.card is None:
        return escape(entry.error or str(ModelError("This model cannot be used.")))
    return card_text(entry.card)


def card_text(card: ModelCard) -> str:
    """Return a model's card as rich text."""
    classes = ", ".join(f"{each.value} {escape(each.name)}" for each in card.classes)
    if any(each.name == "membrane" for each in card.classes):
        classes += "; glia and extracellular space count as membrane"
    rows = [
        ("Network", _network(card)),
        ("Trained on", "; ".join(map(_trained_on, card.data))),
        ("Pixel size", f"{card.pixel_size_nm:g} nm, in tiles of {card.tile} px"),
        ("Classes", classes),
        *_scores(card),
        ("Licence", escape(card.licence) or "not stated"),
        ("Cite", escape(card.citation)),
        ("About", escape(card.description)),
    ]
    return "".join(f"<p style='margin:0 0 4px 0'><b>{name}:</b> {text}</p>" for name, text in rows if text)


def _network(card: ModelCard) -> str:
    spec = card.spec
    if not spec.learns:
        return "of another program (ONNX); it segments, and cannot learn"
    kind = (
        "U-Net, looks once"
        if spec.rounds == 1
        else f"{spec.kind.replace('_', ' ')}, {spec.mode}, looks twice"
    )
    return escape(f"{kind}; width {spec.width}")


def _trained_on(data: TrainingData) -> str:
    train = data.sections.get("train", [])
    return escape(data.name) + (f", {len(train)} sections" if train else "")


def _scores(card: ModelCard) -> list[tuple[str, str]]:
    rows = []
    for part, name in (("validation", "IoU, validation"), ("test", "IoU, test")):
        scores: dict[str, Any] = card.scores.get(part, {})
        if scores.get("iou"):
            each = ", ".join(f"{escape(key)} {value:.0%}" for key, value in scores["iou"].items())
            mean = scores.get("mean_iou")
            rows.append((name, each + (f"; mean {mean:.1%}" if mean else "")))
    return rows
