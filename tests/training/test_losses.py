from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_feedback_seg.training.losses import SegmentationLoss


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(1))


def test_equals_cross_entropy_plus_soft_dice(logits: torch.Tensor, target: torch.Tensor) -> None:
    probabilities = logits.softmax(1)
    truth = functional.one_hot(target, 4).movedim(-1, 1).float()
    overlap = (probabilities * truth).sum((0, 2, 3))
    dice = 1 - (2 * overlap / (probabilities.sum((0, 2, 3)) + truth.sum((0, 2, 3)))).mean()
    expected = functional.cross_entropy(logits, target) + 0.7 * dice
    loss = SegmentationLoss((1.0,) * 4, dice=0.7)((logits,), target)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_unlabelled_pixels_change_nothing(logits: torch.Tensor, target: torch.Tensor) -> None:
    loss_of = SegmentationLoss((1.0,) * 4)
    target[:, :3] = -1
    loss_of((logits,), target).backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :3].abs().max() == 0
    assert logits.grad[:, :, 3:].abs().min() > 0
    labelled = loss_of((logits[:, :, 3:],), target[:, 3:])
    assert loss_of((logits,), target).item() == pytest.approx(labelled.item(), rel=1e-5)


def test_first_round_counts_by_its_weight(logits: torch.Tensor, target: torch.Tensor) -> None:
    other = torch.zeros_like(logits)
    one, first = (SegmentationLoss((1.0,) * 4)((each,), target) for each in (logits, other))
    both = SegmentationLoss((1.0,) * 4, first_round=0.4)((other, logits), target)
    assert both.item() == pytest.approx((one + 0.4 * first).item(), rel=1e-5)
    alone = SegmentationLoss((1.0,) * 4)((other, logits), target)
    assert alone.item() == pytest.approx(one.item())
