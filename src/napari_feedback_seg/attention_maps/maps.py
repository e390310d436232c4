"""From a section and a model to the attention of its tiles."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, cast

import torch

from napari_feedback_seg.attention_maps.grid import TileGrid
from napari_feedback_seg.attention_maps.support import why_no_attention
from napari_feedback_seg.attention_maps.tile import TileAttention
from napari_feedback_seg.errors import DeviceError, ModelError
from napari_feedback_seg.networks.attention import FeedbackAttention
from napari_feedback_seg.segmentation.device import choose_device, describe_device, inference_dtype
from napari_feedback_seg.segmentation.inference import inference_network
from napari_feedback_seg.segmentation.lazy import open_section
from napari_feedback_seg.segmentation.prediction import model_shape
from napari_feedback_seg.segmentation.reader import section_reader
from napari_feedback_seg.segmentation.tiles import scaled

if TYPE_CHECKING:
    from napari_feedback_seg.attention_maps.grid import TileFrame
    from napari_feedback_seg.models.model import Model
    from napari_feedback_seg.networks.feedback import FeedbackAttentionUNet
    from napari_feedback_seg.networks.residual import AdaptedNetwork

_TILES_KEPT = 16


class SectionAttention:
    """The attention of a model on a section, tile by tile.

    Parameters
    ----------
    section : array-like
        (Y, X), integers or floats.
    model : Model
        A model with feedback attention; its own network stays as it is.
    overlap : float
        Of neighbouring tiles, as in the segmentation.
    pixel_size_nm : float or tuple of float, optional
        Side of a pixel of the section, or its height and width; the model's own if not given.
    device, precision : str
        As in the segmentation.

    Attributes
    ----------
    grid : TileGrid
        The tiles with which the model segments the section.

    Raises
    ------
    ModelError
        If the model has no attention.
    InputError
        If the section cannot be used as it is, or has nothing to see.
    DeviceError
        If there is no such device.
    """

    def __init__(
        self,
        section: Any,
        model: Model,
        *,
        overlap: float = 0.25,
        pixel_size_nm: float | tuple[float, float] | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        reason = why_no_attention(model.card)
        if reason:
            raise ModelError(reason)
        if model.card.spec.in_channels != 1:
            raise ModelError(
                f"The model {model.card.name} takes images of {model.card.spec.in_channels} channels, and a "
                "section has one. Take a model for one channel."
            )
        section = open_section(section, part=True)
        shape = model_shape(section.shape, model.card, pixel_size_nm)
        self._reader = section_reader(section, shape)
        box = self._reader.statistics.box
        tissue = None if box is None else scaled(box, section.shape, shape)
        self.grid = TileGrid(section.shape, shape, model.card.tile, overlap, tissue)
        self._model = model
        self._device = choose_device(device)
        self._dtype = inference_dtype(self._device, precision)
        self._network: FeedbackAttentionUNet | AdaptedNetwork | None = None
        self._tiles: OrderedDict[TileFrame, TileAttention] = OrderedDict()

    def at(self, y: int, x: int, *, recentre: bool = False) -> TileAttention:
        """Return the attention of the tile in which a pixel is seen.

        The last tiles are kept, so that other pixels of them cost next to nothing.

        Parameters
        ----------
        y, x : int
            The pixel of the section.
        recentre : bool
            Lay a tile around the pixel, instead of taking the one of the segmentation's
            tiles whose centre is nearest.

        Raises
        ------
        InputError
            If the pixel is outside of the section.
        DeviceError
            If the device fails, or runs out of memory.
        """
        frame = self._frame(y, x, recentre)
        if frame not in self._tiles:
            self._tiles[frame] = self._look(frame)
            if len(self._tiles) > _TILES_KEPT:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(frame)
        return self._tiles[frame]

    def kept(self, y: int, x: int, *, recentre: bool = False) -> TileAttention | None:
        """Return what :meth:`at` would if it has it already."""
        return self._tiles.get(self._frame(y, x, recentre))

    def _frame(self, y: int, x: int, recentre: bool) -> TileFrame:
        return self.grid.around(y, x) if recentre else self.grid.nearest(y, x)

    @torch.inference_mode()
    def _look(self, frame: TileFrame) -> TileAttention:
        tile = torch.from_numpy(self._reader.read(frame.tile, frame.size))[None, None]
        try:
            if self._network is None:
                network = inference_network(self._model, self._device, self._dtype)
                self._network = cast("FeedbackAttentionUNet | AdaptedNetwork", network)
            image = tile.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last)
            maps = self._network.maps(image)
            feedback = self._network.feedback
            assert isinstance(feedback, FeedbackAttention)
            query, key = feedback.query_and_key(maps.input_side, maps.output_side)
            probabilities = torch.cat([each.float().softmax(dim=1) for each in maps.logits])
            if not bool(torch.isfinite(probabilities).all()):
                if self._dtype == torch.float16:  # too small for what the network computes
                    self._dtype, self._network = torch.float32, None
                    return self._look(frame)
                raise ModelError(
                    f"The model {self._model.card.name} gave values that are not numbers: its weights are "
                    "damaged, or its training went wrong. Take another model."
                )
            return TileAttention(
                frame,
                self._model.card.classes,
                self._model.card.spec.key_pooling,
                _at_each_pixel(query[0].float(), feedback.query_pooling, frame.size)
                .flatten(0, 1)
                .contiguous(),
                key[0].float().permute(1, 2, 0).contiguous(),
                probabilities.cpu().numpy(),
            )
        except RuntimeError as error:
            raise DeviceError(
                f"{describe_device(self._device)} failed at a tile of {frame.size} x {frame.size} pixels. "
                f"If memory ran out, close other programs, or choose the device cpu. ({error})"
            ) from error


def _at_each_pixel(query: torch.Tensor, pooling: int, size: int) -> torch.Tensor:
    """Return the Query (size, size, D) of each pixel: that of the place in which it lies."""
    for axis in (1, 2) if pooling > 1 else ():
        query = query.repeat_interleave(pooling, axis).narrow(axis, 0, size)
    return query.permute(1, 2, 0)
