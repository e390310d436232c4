from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_feedback_seg.training.losses import SegmentationLoss, exactly


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
    loss = SegmentationLoss((1.0,) * 4, dice=0.7)((logits,), exactly(target, 4))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_unlabelled_pixels_change_nothing(logits: torch.Tensor, target: torch.Tensor) -> None:
    loss_of = SegmentationLoss((1.0,) * 4)
    target[:, :3] = -1
    loss_of((logits,), exactly(target, 4)).backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :3].abs().max() == 0
    assert logits.grad[:, :, 3:].abs().min() > 0
    labelled = loss_of((logits[:, :, 3:],), exactly(target[:, 3:], 4))
    assert loss_of((logits,), exactly(target, 4)).item() == pytest.approx(labelled.item(), rel=1e-5)


def test_first_round_counts_by_its_weight(logits: torch.Tensor, target: torch.Tensor) -> None:
    other = torch.zeros_like(logits)
    one, first = (SegmentationLoss((1.0,) * 4)((each,), exactly(target, 4)) for each in (logits, other))
    both = SegmentationLoss((1.0,) * 4, first_round=0.4)((other, logits), exactly(target, 4))
    assert both.item() == pytest.approx((one + 0.4 * first).item(), rel=1e-5)
    alone = SegmentationLoss((1.0,) * 4)((other, logits), exactly(target, 4))
    assert alone.item() == pytest.approx(one.item())


def test_a_set_of_classes_is_as_good_as_their_summed_probability(logits: torch.Tensor) -> None:
    possible = torch.zeros(2, 4, 8, 8, dtype=torch.bool)
    possible[:, [1, 2]] = True
    expected = -logits.softmax(1)[:, [1, 2]].sum(1).log().mean()
    loss = SegmentationLoss((1.0,) * 4, dice=0)((logits,), possible)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    # Which of the two it is, is left open: their ratio is not moved.
    probabilities = logits.detach().softmax(1)
    share = logits.grad[:, [1, 2]] / probabilities[:, [1, 2]]
    torch.testing.assert_close(share[:, 0], share[:, 1])


def test_a_less_likely_class_counts_less(logits: torch.Tensor) -> None:
    beliefs = torch.zeros(2, 4, 8, 8)
    beliefs[:, 1], beliefs[:, 3] = 0.5, 1
    probabilities = logits.softmax(1)
    expected = -(0.5 * probabilities[:, 1] + probabilities[:, 3]).log().mean()
    loss = SegmentationLoss((1.0,) * 4, dice=0)((logits,), beliefs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    # Now their ratio is moved, towards the likely one.
    share = logits.grad[:, [1, 3]] / probabilities.detach()[:, [1, 3]]
    assert (share[:, 0] > share[:, 1]).all()


def test_dice_takes_the_likely_class_for_the_truth(logits: torch.Tensor) -> None:
    """Membrane or less likely synapse, and cytoplasm: of the synapse nothing is known in the first half."""
    beliefs = torch.zeros(2, 4, 8, 8)
    beliefs[:, 0, :4], beliefs[:, 2, :4], beliefs[:, 3, 4:] = 1, 0.5, 1
    plain, dice = (SegmentationLoss((1.0,) * 4, dice=weight)((logits,), beliefs) for weight in (0.0, 1.0))
    expected = 2.0  # mitochondria and synapse, which are nowhere for sure
    for channel in (0, 3):
        said, truth = logits.softmax(1)[:, channel], (beliefs[:, channel] == 1).float()
        expected += 1 - 2 * (said * truth).sum().item() / (said.sum() + truth.sum()).item()
    assert (dice - plain).item() == pytest.approx(expected / 4, abs=1e-3)


def test_dice_of_a_class_is_over_the_pixels_of_which_it_is_known(logits: torch.Tensor) -> None:
    """Half the pixels are membrane, half can be 2, 3 or 4: of class 2 nothing is known in either half."""
    possible = torch.zeros(2, 4, 8, 8, dtype=torch.bool)
    possible[:, 0, :4] = True
    possible[:, 1:, 4:] = True
    plain, dice = (SegmentationLoss((1.0,) * 4, dice=weight)((logits,), possible) for weight in (0.0, 1.0))
    membrane = logits.softmax(1)[:, 0]
    truth = possible[:, 0].float()
    expected = 1 - 2 * (membrane * truth).sum() / (membrane.sum() + truth.sum())
    # The other three are nowhere for sure: their Dice is 1 whatever the network says.
    assert (dice - plain).item() == pytest.approx((expected.item() + 3) / 4, abs=1e-3)


def test_a_class_weight_is_that_of_the_classes_that_are_possible(logits: torch.Tensor) -> None:
    possible = torch.zeros(2, 4, 8, 8, dtype=torch.bool)
    possible[0, 0] = possible[1, 2] = possible[1, 3] = True
    weighted = SegmentationLoss((3.0, 1.0, 0.5, 1.5), dice=0)((logits,), possible)
    first = SegmentationLoss((1.0,) * 4, dice=0)((logits[:1],), possible[:1])
    second = SegmentationLoss((1.0,) * 4, dice=0)((logits[1:],), possible[1:])
    assert weighted.item() == pytest.approx(((3 * first + second) / 4).item(), rel=1e-5)


def test_nothing_labelled_is_no_loss_and_no_nan(logits: torch.Tensor) -> None:
    loss = SegmentationLoss((1.0,) * 4, dice=0)((logits,), torch.zeros(2, 4, 8, 8, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0
