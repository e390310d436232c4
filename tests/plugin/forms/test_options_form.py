from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from qtpy.QtWidgets import QCheckBox, QLabel

from napari_feedback_seg.correction.config import FinetuneConfig
from napari_feedback_seg.plugin.forms.options_form import OptionsForm
from napari_feedback_seg.segmentation.prediction import SegmentOptions


@dataclass(frozen=True)
class Options:
    """How to bake.

    Parameters
    ----------
    heat : float
        Of the oven, ``0`` to
        below 1; less < more.
    loaves, rolls : int
        How many.
    crisp : bool
        Longer.
    oven : str
        Which one.
    note : str
        Not for the form.
    """

    heat: Annotated[float, {"label": "&Heat", "min": 0, "max": 0.9, "step": 0.001}] = 0.25
    loaves: Annotated[int, {"min": 1, "max": 9}] = 2
    rolls: Annotated[int, {"min": 0}] = 3
    crisp: Annotated[bool, {"label": "&Crisp (slower)"}] = False
    oven: Annotated[str, {"choices": [("Automatic", "auto"), ("Gas", "gas")]}] = "auto"
    note: str = "kept"


@pytest.fixture
def form(qtbot):
    form = OptionsForm(Options(heat=0.5, note="mine"))
    qtbot.addWidget(form)
    return form


def test_values_come_and_go_as_the_dataclass(form, qtbot):
    assert form.value == Options(heat=0.5, note="mine")
    told = []
    form.changed.connect(told.append)
    form.value = Options(heat=0.125, loaves=4, oven="gas")
    assert not told  # nobody typed
    assert form.widgets["heat"].value == 0.125
    assert form.widgets["oven"].native.currentText() == "Gas"
    form.widgets["crisp"].native.click()
    box = form.widgets["heat"].native
    box.selectAll()
    qtbot.keyClicks(box, "0,333")
    expected = Options(heat=0.333, loaves=4, crisp=True, oven="gas")
    assert form.value == told[-1] == expected


def test_what_is_being_typed_is_not_written_anew(form, qtbot):
    form.changed.connect(lambda options: setattr(form, "value", options))  # as a session answers
    box = form.widgets["heat"].native
    box.selectAll()
    qtbot.keyClicks(box, "0.4")
    assert box.text() == "0.4"
    qtbot.keyClicks(box, "25")
    assert form.value.heat == 0.425


def test_rows_labels_and_tooltips_come_from_the_class(form):
    assert list(form.widgets) == ["heat", "loaves", "rolls", "crisp", "oven"]
    labels = [each.text() for each in form.findChildren(QLabel)]
    assert labels == ["&Heat", "loaves", "rolls", "oven"]
    assert form.findChild(QCheckBox).text() == "&Crisp (slower)"
    tooltips = {name: widget.native.toolTip() for name, widget in form.widgets.items()}
    assert tooltips["heat"] == "<qt>Of the oven, 0 to below 1; less &lt; more. (Alt+H)</qt>"
    assert tooltips["loaves"] == tooltips["rolls"] == "<qt>How many.</qt>"


def test_range_and_key_of_the_label(form, qtbot):
    form.show()
    form.widgets["heat"].native.setValue(5)
    assert form.value.heat == 0.9
    heat = next(each for each in form.findChildren(QLabel) if each.text() == "&Heat")
    assert heat.buddy() is form.widgets["heat"].native


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (SegmentOptions(overlap=0.5), ["overlap", "flips", "remove_specks", "probabilities"]),
        (FinetuneConfig(steps=7), ["steps", "learning_rate", "rehearsal"]),
    ],
)
def test_options_of_the_tabs(qtbot, options, fields):
    form = OptionsForm(options)
    qtbot.addWidget(form)
    assert list(form.widgets) == fields
    form.widgets[fields[0]].changed.emit(None)
    assert form.value == options  # no default is rounded away
    assert all(len(widget.native.toolTip()) > 20 for widget in form.widgets.values())
