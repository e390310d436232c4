from __future__ import annotations

import copy
import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_feedback_seg.classes import EM_CLASSES
from napari_feedback_seg.datasets.sstem import is_sstem
from napari_feedback_seg.models.model import Model, ModelCard, TrainingData
from napari_feedback_seg.models.model_file import save_model
from napari_feedback_seg.networks import NetworkSpec, build_network

DATA_VARIABLE = "NAPARI_FEEDBACK_SEG_SSTEM"


def pytest_collection_finish() -> None:
    """Let the search for garbage pass over all that is imported: it takes a third of a second otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def sstem_folder() -> Path:
    """Return the folder of the public ssTEM data set."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "sstem"
    folder = Path(os.environ.get(DATA_VARIABLE, beside))
    if not is_sstem(folder):
        pytest.skip(f"The ssTEM data set is not here; {DATA_VARIABLE} says where it is.")
    return folder


@pytest.fixture(scope="session")
def _small_model() -> Model:
    torch.manual_seed(0)
    spec = NetworkSpec(width=4, depth=2, key_pooling=4)
    network = build_network(spec).eval()
    classifier = network.unet.classifier
    with torch.no_grad():
        network.feedback.scale.fill_(1)
        logits = network(torch.randn(1, 1, 64, 64))[-1]
        spread = logits.std(dim=(0, 2, 3))
        classifier.bias.copy_((classifier.bias - logits.mean(dim=(0, 2, 3))) / spread)
        classifier.weight.div_(spread[:, None, None, None])
    data = TrainingData("d", sections={"train": [0], "validation": [1]})
    card = ModelCard("small", spec, EM_CLASSES, 4.6, 64, data=(data,))
    return Model(card, network)


@pytest.fixture
def small_model(_small_model: Model) -> Model:
    """Return a feedback network that gives all classes, and two rounds that differ; the test's own."""
    return copy.deepcopy(_small_model)


@pytest.fixture(scope="session")
def small_model_file(_small_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of that model, to be copied and left as it is."""
    return save_model(_small_model, tmp_path_factory.mktemp("model") / "small.safetensors")
