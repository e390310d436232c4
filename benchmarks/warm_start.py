"""Whether a trained U-Net takes up the feedback: it is trained on, alone and with a second look.

    python benchmarks/warm_start.py DATA -o FOLDER
    python benchmarks/warm_start.py DATA -o FOLDER --base other-unet.safetensors --ways unet 8

DATA is a folder of labelled sections or ``sstem``. Both looks begin with the weights of the U-Net, and
the scale of the attention with 0, so that at first the second look says what the first does. Patches,
seed and recipe are the same for all; the highest learning rate is half of the recipe's. Each run is
the folder of a training, and what was interrupted goes on from its last epoch. IoU is on the
validation sections, blended.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from napari_feedback_seg.evaluation.train import TrainJob, run_training
from napari_feedback_seg.models.library import load_model
from napari_feedback_seg.models.model_file import load_model_file
from napari_feedback_seg.networks import NetworkSpec, build_network
from napari_feedback_seg.terminal import watch_training
from napari_feedback_seg.training import loop
from napari_feedback_seg.training.config import DEFAULT_SPEC, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of labelled sections, or sstem")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--base", default="unet-w16", help="name or file of the U-Net")
    parser.add_argument("--ways", nargs="+", default=["unet", "16", "8"], help="unet, or a key pooling")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    base = load_model(options.base)
    rows = []
    for way in options.ways:
        name = f"{base.card.name}-{way}-e{options.epochs}-s{options.seed}"
        spec = base.card.spec if way == "unet" else replace(DEFAULT_SPEC, key_pooling=int(way))
        path = options.output / name / f"{name}.safetensors"
        if not path.exists():
            config = TrainConfig(spec, epochs=options.epochs, learning_rate=1e-3, seed=options.seed)
            job, resume = TrainJob(name, 0, config), (path.parent / "last.pt").exists()
            with patch.object(loop, "build_network", lambda spec: begun(spec, base.network.state_dict())):
                watch_training(run_training([options.data], path.parent, job, device="cpu", resume=resume))
        model = load_model_file(path)
        scores = model.card.scores["validation"]
        first = scores.get("first_round", {}).get("mean_iou")
        scale = model.network.feedback.scale.item() if way != "unet" else None
        rows.append([way, scores["mean_iou"], first, scale])
    print(f"| on from {base.card.name} | mean IoU, % | first output, % | scale |\n|---|---|---|---|")
    for way, mean, first, scale in rows:
        named = "U-Net" if way == "unet" else f"Self, keys pooled {way} x {way}"
        print(
            f"| {named} | {100 * mean:.2f} | {'' if first is None else f'{100 * first:.2f}'} "
            f"| {'' if scale is None else f'{scale:.3f}'} |"
        )


def begun(spec: NetworkSpec, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a network whose looks are both that of a U-Net with this ``state``."""
    network = build_network(spec)
    network.load_state_dict(
        {
            name: each
            if name.startswith("feedback.")
            else state[name.removeprefix("unet.").replace("norms.1.", "norms.0.")]
            for name, each in network.state_dict().items()
        }
    )
    return network


if __name__ == "__main__":
    main()
