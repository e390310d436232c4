"""The mouse, followed from a press on."""

from __future__ import annotations

from types import SimpleNamespace

from napari.components import ViewerModel

from napari_feedback_seg.plugin.layers.picking import drag


def test_a_move_without_a_button_ends_it():
    """As after a release that came while the press was still handled, of which napari tells nobody."""
    viewer, taken = ViewerModel(), []
    event = SimpleNamespace(button=1, modifiers=(), position=(1, 2), type="mouse_press", is_dragging=False)
    following = drag(viewer, event, lambda position, dragged: taken.append((position, dragged)))
    next(following)
    event.type, event.is_dragging, event.position = "mouse_move", True, (3, 4)
    next(following)
    assert not viewer.scene.camera.mouse_pan
    event.is_dragging, event.position = False, (5, 6)
    assert next(following, "over") == "over"
    assert taken == [((1, 2), False), ((3, 4), True)]
    assert viewer.scene.camera.mouse_pan


def test_it_ends_when_it_is_wanted_no_more():
    viewer, taken, wanted = ViewerModel(), [], [True]
    event = SimpleNamespace(button=1, modifiers=(), position=(1, 2), type="mouse_press", is_dragging=False)
    following = drag(viewer, event, lambda position, _: taken.append(position), lambda: wanted[0])
    next(following)
    event.type, event.is_dragging, wanted[0] = "mouse_move", True, False
    assert next(following, "over") == "over"
    assert taken == [(1, 2)]
