"""The convex problem that strokes pose: what is to be added to the logits.

Cross-entropy on what a person painted, plus cross-entropy to the network's own confident answer
elsewhere (rehearsal, without which a few strokes on mistakes would teach that all is a mistake),
plus a ridge. A share of the solution is taken, the more the more strokes there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import ThreadpoolController

from napari_feedback_seg.networks.residual import Residual

if TYPE_CHECKING:
    from collections.abc import Callable

REHEARSAL = 9.0
REHEARSAL_OF_NEW = 0.02
"""As much of it also says that a class that the network lacks is not there."""

RIDGE = 0.1
STEPS = 60

PIXELS_OF_STROKE = 40
"""So many pixels of a stroke are learnt from. A smaller one counts less, as a crumb that an eraser leaves."""

STROKES = 5, 10, 40
SHARES = 0.15, 0.4, 0.6
"""How much of the solution is taken with so many strokes, or fewer, or more; between them it grows evenly.

Strokes lie on the worst mistakes, and are no fair sample of an image, least of all one or two of them.
The least is also taken on images that the network knows, where there is more to lose. See "How much is
taken" in ``docs/benchmarks/strokes.md``."""

UNSURE = 0.052
"""A network that expects a smaller share of the pixels to be wrong knows such images.

So do `self-w16` of 0.034 to 0.042 and `general` of 0.047 to 0.050 on validation sections of ssTEM.
`self-w16` expects 0.050 to 0.078 on them blurred, noisy and of another stain, and 0.067 to 0.109 on
other labs."""

_LEAST_STD = 1e-3
_NEVER = -1e4

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels to learn from.

    Attributes
    ----------
    features : ndarray
        (N, F) float32.
    logits : ndarray
        (N, C) float32, what the network says there.
    targets : ndarray
        (N, C) float32, the probabilities that it is to say.
    weights : ndarray
        (N,) float32, which sum to 1.
    strokes : ndarray
        (N,) int, the stroke that each belongs to.
    """

    features: Floats
    logits: Floats
    targets: Floats
    weights: Floats
    strokes: npt.NDArray[np.int64]

    def loss(self, change: Floats) -> float:
        """Return the mean cross-entropy where the logits change by (N, C)."""
        return float(_cross_entropy(self.logits + change, self.targets)[0] @ self.weights)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted residual.

    Attributes
    ----------
    residual : Residual
        What is taken of the solution.
    share : float
        How much that is.
    solution : ndarray
        (C, F + 1) for standardised features and 1, all of it. The next fit can begin there.
    """

    residual: Residual
    share: float
    solution: Floats


class Fitting:
    """The problem of some strokes.

    Parameters
    ----------
    painted : Pixels
        Of the strokes.
    kept : Pixels
        Where the network's own answer is to stay.
    new_classes : int
        How many of the last channels the network lacks. It cannot have been sure that they are
        not there.
    """

    def __init__(self, painted: Pixels, kept: Pixels, new_classes: int = 0) -> None:
        self._new_classes = new_classes
        everything = np.concatenate([kept.features, painted.features])
        self._mean = everything.mean(axis=0)
        self._std = np.maximum(everything.std(axis=0), _LEAST_STD)
        self._painted = replace(painted, features=self._standardised(painted.features))
        self._kept = replace(kept, features=self._standardised(kept.features))

    def run(self, begin: Floats | None = None, *, known: bool = False) -> Fit:
        """Solve it.

        Parameters
        ----------
        begin : ndarray, optional
            The solution of a problem much like this one.
        known : bool
            Whether the network knows such images.
        """
        solution = self._solve(begin)
        strokes = len(self._painted.strokes) / PIXELS_OF_STROKE
        share = SHARES[0] if known else float(np.interp(strokes, STROKES, SHARES))
        share = 1.0 if self._new_classes else share  # what new classes are, the strokes alone tell
        weight = solution[:, :-1] / self._std
        bias = solution[:, -1] - weight @ self._mean
        weight, bias = (torch.from_numpy(np.float32(share) * each) for each in (weight, bias))
        return Fit(Residual(weight, bias), share, solution)

    def influence(self, fit: Fit, features: Floats, direction: Floats) -> dict[int, float]:
        """Return by how much each stroke moved the logits of a pixel in a direction.

        That is what goes when the stroke is left out, to first order: one step of Newton's
        method, with the curvature of all that is learnt.

        Parameters
        ----------
        fit : Fit
            Of this problem.
        features : ndarray
            (1, F), those of the pixel.
        direction : ndarray
            (C,), for example 1 for the class that it became and -1 for that which it was.
        """
        towards = np.outer(direction, self._standardised(features)[0]).astype(np.float32)
        step = _conjugate_gradient(lambda each: self._curvature(each, fit.solution), towards)
        painted = self._painted
        _, p = _cross_entropy(painted.logits + painted.features @ fit.solution.T, painted.targets)
        moved = ((painted.features @ step.T) * (p - painted.targets)).sum(axis=1) * painted.weights
        totals = -fit.share * np.bincount(painted.strokes, weights=moved)
        return {int(stroke): float(totals[stroke]) for stroke in np.unique(painted.strokes)}

    def _standardised(self, features: Floats) -> Floats:
        features = (features - self._mean) / self._std
        return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)

    def _solve(self, begin: Floats | None) -> Floats:
        from scipy.optimize import minimize

        painted, kept = self._painted, self._kept
        shape = kept.logits.shape[1], kept.features.shape[1]
        parts = [(painted, 1.0), *self._rehearsed(kept)]
        features, logits, targets = (
            np.concatenate([getattr(pixels, name) for pixels, _ in parts])
            for name in ("features", "logits", "targets")
        )
        weights = np.concatenate([pixels.weights * weight for pixels, weight in parts])
        across = np.ascontiguousarray(features.T)
        ridge = np.full((1, shape[1]), RIDGE, np.float32)
        ridge[0, -1] = 0

        def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            solution = flat.reshape(shape).astype(np.float32)
            values, p = _cross_entropy(logits + (solution @ across).T, targets)
            gradient = ((p - targets) * weights[:, None]).T @ features + 2 * ridge * solution
            value = float(values @ weights) + float((ridge * solution**2).sum())
            return value, gradient.ravel().astype(np.float64)

        fits = begin is not None and begin.shape == shape
        first = begin.ravel() if begin is not None and fits else np.zeros(shape).ravel()
        # The matrices are small: a second thread would take six times as long.
        with _blas().limit(limits=1, user_api="blas"):
            found = minimize(
                loss, first, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 10}
            )
        result: Floats = found.x.reshape(shape).astype(np.float32)
        return result

    def _rehearsed(self, kept: Pixels) -> list[tuple[Pixels, float]]:
        """Return what is to stay, and its weight."""
        if not self._new_classes:
            return [(kept, REHEARSAL)]
        logits = kept.logits.copy()
        logits[:, -self._new_classes :] = _NEVER
        known = replace(kept, logits=logits, targets=_cross_entropy(logits, logits)[1])
        return [(known, REHEARSAL), (kept, REHEARSAL_OF_NEW)]

    def _curvature(self, direction: Floats, solution: Floats) -> Floats:
        """Return the Hessian times a direction (C, F + 1)."""
        result = 2 * RIDGE * direction
        result[:, -1] = 0
        for pixels, weight in ((self._painted, 1.0), *self._rehearsed(self._kept)):
            _, p = _cross_entropy(pixels.logits + pixels.features @ solution.T, pixels.targets)
            change = pixels.features @ direction.T
            change = p * (change - (p * change).sum(axis=1, keepdims=True))
            result += (change * (weight * pixels.weights)[:, None]).T @ pixels.features
        return result


@cache
def _blas() -> ThreadpoolController:
    """Return what sets the threads of the libraries that multiply for numpy and scipy."""
    return ThreadpoolController()


def _cross_entropy(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Return the cross-entropy (N,) and the probabilities (N, C)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    total = p.sum(axis=1, keepdims=True)
    values = np.log(total[:, 0]) * targets.sum(axis=1) - (targets * logits).sum(axis=1)
    return values, p / total


def _conjugate_gradient(curvature: Callable[[Floats], Floats], right: Floats, steps: int = 50) -> Floats:
    """Solve ``curvature(x) = right``."""
    solution = np.zeros_like(right)
    rest, direction = right.copy(), right.copy()
    first = size = float((rest**2).sum())
    for _ in range(steps):
        turned = curvature(direction)
        step = size / max(1e-30, float((direction * turned).sum()))
        solution += step * direction
        rest -= step * turned
        after = float((rest**2).sum())
        if after < 1e-8 * first:
            break
        direction = rest + after / size * direction
        size = after
    return solution
