"""The one description of an architecture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast, get_args

from napari_feedback_seg.errors import ModelError

Kind = Literal["unet", "recurrent_unet", "feedback_unet", "feedback_attention", "onnx"]
Mode = Literal["self", "source_target", "add", "conv1x1", "squeeze_excitation", "light_attention"]
Tap = Literal["one_conv", "two_conv"]

NETWORKS: tuple[str, ...] = ("unet", "recurrent_unet", "feedback_unet", *get_args(Mode))
"""The systems of the paper's Tables 1 and 2 by name."""

LARGEST_WIDTH = 16_384
"""Channels at the bottom of a network: what a hostile card may ask memory for ends here."""


@dataclass(frozen=True)
class Program:
    """A network from elsewhere, as an ONNX file.

    Parameters
    ----------
    size : int
        Bytes of the file.
    steps : tuple of (str, float, float)
        What a normalised tile goes through first: ``scale_range`` (to 0 and 1 from these percentiles),
        ``clip`` (to these bounds), ``scale`` (times the first, plus the second), ``normalise`` (mean 0,
        deviation 1; the numbers are not looked at).
    output : {"logits", "probabilities", "one_logit", "one_probability", "each"}
        What comes out: a channel for each class, as logits or probabilities; one channel, of the first of
        two classes; or probabilities that know nothing of each other, of all classes but the last.
    """

    size: int
    steps: tuple[tuple[str, float, float], ...] = ()
    output: str = "logits"

    def __post_init__(self) -> None:
        _check_integer("program", self.size, 1, 2**32)
        if self.output not in OUTPUTS or any(
            len(step) != 3
            or step[0] not in STEPS
            or not all(isinstance(each, int | float) for each in step[1:])
            for step in self.steps
        ):
            raise ModelError(
                "A network from an ONNX file is described in a way that this version cannot use."
            )


OUTPUTS = ("logits", "probabilities", "one_logit", "one_probability", "each")
STEPS = ("scale_range", "clip", "scale", "normalise")


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is, without its weights.

    A field that means nothing to a kind of network is not looked at.

    Parameters
    ----------
    kind : {"unet", "recurrent_unet", "feedback_unet", "feedback_attention", "onnx"}
        ``unet`` and ``recurrent_unet`` (RU-Net) look once, ``feedback_unet`` (Feedback U-Net,
        with a convLSTM) and ``feedback_attention`` twice. ``onnx`` is a network from elsewhere.
    width : int
        Channels of the first block, and so of the output-side map; each level below
        has twice as many. The paper's networks are read as 64 wide.
    depth : int
        Number of times the map is halved. Height and width of the input are multiples
        of ``2 ** depth``.
    in_channels, classes : int
        Channels of the image and number of label classes.
    mode : {"self", "source_target", "add", "conv1x1", "squeeze_excitation", "light_attention"}
        How the output-side map comes back in ``feedback_attention``. By attention, with the
        Query from the output-side map (``self``) or the input-side map (``source_target``);
        or by the connections of Table 2, which have no attention between places.
    tap : {"two_conv", "one_conv"}
        The input-side map is taken after the second or the first convolution of the
        first block (Table 3). For ``feedback_attention``.
    detach_first_round : bool
        Keep the gradient from flowing through the output-side map of round 1, as the
        paper's "gradients at the second round" is read; in ``feedback_unet`` through the
        probabilities of round 1.
    norm_per_round : bool
        One set of batch-norm layers per round; in ``recurrent_unet`` per step of each
        recurrent layer. Convolution weights are shared always.
    query_pooling, key_pooling : int
        1 and 1 are the paper's exact attention. ``p`` average-pools Query, or Key and Value, ``p x p``;
        what comes back to a pooled Query is interpolated to all pixels.
    mean_of_rounds : bool
        The answer of ``feedback_attention`` is the mean of the logits of both rounds; the paper's is that
        of round 2. On tissue that a network never saw, round 2 errs more than the mean does.
    query_channels : int, optional
        Channels of Query and Key; the paper's eighth of ``width`` if not given. The
        paper's width of 64 gives 8; a narrow network may want to keep those.
    program : Program, optional
        What an ``onnx`` network is, and no other has.
    adapted : bool
        The answer has a residual added to its logits, which strokes taught.

    Raises
    ------
    ModelError
        If a field has a value that describes no network.

    References
    ----------
    Tsuda, Shibuya, Hotta: Feedback Attention for Cell Image Segmentation, 2020.
    """

    kind: Kind = "feedback_attention"
    width: int = 64
    depth: int = 4
    in_channels: int = 1
    classes: int = 4
    mode: Mode = "self"
    tap: Tap = "two_conv"
    detach_first_round: bool = True
    norm_per_round: bool = False
    query_pooling: int = 1
    key_pooling: int = 1
    query_channels: int | None = None
    mean_of_rounds: bool = False
    program: Program | None = None
    adapted: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("kind", Kind), ("mode", Mode), ("tap", Tap)):
            if getattr(self, name) not in get_args(choices):
                raise ModelError(
                    f"A network's {name} is one of {', '.join(get_args(choices))}, "
                    f"not {getattr(self, name)!r}."
                )
        for name, least, most in (
            ("width", 1, 1024),
            ("depth", 1, 8),
            ("in_channels", 1, 1024),
            ("classes", 2, 255),
            ("query_pooling", 1, 256),
            ("key_pooling", 1, 256),
        ):
            _check_integer(name, getattr(self, name), least, most)
        if self.width * 2**self.depth > LARGEST_WIDTH:
            raise ModelError(
                f"A network of width {self.width} and depth {self.depth} has "
                f"{self.width * 2**self.depth} channels at its bottom; at most {LARGEST_WIDTH} make sense."
            )
        if (self.kind == "onnx") != isinstance(self.program, Program):
            raise ModelError("A network of the kind onnx has a program, and no other has.")
        if self.query_channels is not None:
            _check_integer("query_channels", self.query_channels, 1, 1024)
        for name in ("detach_first_round", "norm_per_round", "mean_of_rounds", "adapted"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"A network's {name} is true or false, not {getattr(self, name)!r}.")

    @property
    def rounds(self) -> int:
        """How often the network looks at the image."""
        return 1 if self.kind in ("unet", "recurrent_unet", "onnx") else 2

    @property
    def learns(self) -> bool:
        """Whether it can learn from strokes, and be trained."""
        return self.kind != "onnx"

    @property
    def name(self) -> str:
        """Which of :data:`NETWORKS` it is."""
        return self.mode if self.kind == "feedback_attention" else self.kind

    @property
    def multiple(self) -> int:
        """Height and width of a tile are multiples of this number of pixels."""
        return 1 if self.kind == "onnx" else int(2**self.depth)

    @property
    def inner_channels(self) -> int:
        """Channels of the maps inside the network, of all rounds, that a residual is computed from."""
        return self.rounds * self.width * (self.multiple + 2)

    @classmethod
    def named(cls, name: str, **others: Any) -> NetworkSpec:
        """Return the one of :data:`NETWORKS` with this name; ``others`` are fields.

        Raises
        ------
        ModelError
            If the name is unknown, or a field has a value that describes no network.
        """
        if name not in NETWORKS:
            raise ModelError(f"A network is one of {', '.join(NETWORKS)}, not {name!r}.")
        if name in get_args(Kind):
            return cls(kind=cast("Kind", name), **others)
        return cls(mode=cast("Mode", name), **others)

    def to_json(self) -> dict[str, Any]:
        """Return the description as a JSON object; what older versions do not know only if needed."""
        found = asdict(self)
        unsaid = {"program": None, "adapted": False}
        return {name: each for name, each in found.items() if name not in unsaid or each != unsaid[name]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NetworkSpec:
        """Return the network that a JSON object describes.

        Raises
        ------
        ModelError
            If a field is unknown or has a value that describes no network.
        """
        if not isinstance(data, dict):
            raise ModelError("The description of the network is not a JSON object.")
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(
                f"The network has unknown fields ({', '.join(sorted(unknown))}); "
                "the model may come from a newer version of napari-feedback-seg."
            )
        return cls(**data | ({"program": _program(data["program"])} if data.get("program") else {}))


def _program(data: Any) -> Program:
    try:
        steps = tuple((str(name), low, high) for name, low, high in data["steps"])
        return Program(data["size"], steps, data["output"])
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError("The description of the ONNX network cannot be read.") from error


def _check_integer(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ModelError(f"A network's {name} is a whole number from {least} to {most}, not {value!r}.")
