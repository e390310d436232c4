"""The convex problem that strokes pose: what is to be added to the logits.

Cross-entropy on what a person painted, plus cross-entropy to the network's own confident answer
elsewhere (rehearsal, without which a few strokes on mistakes would teach that all is a mistake),
plus a ridge. How much of the solution is taken, the strokes tell: some of them are left out in
turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import ThreadpoolController

from napari_feedback_seg.correction.residual import Residual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REHEARSAL = 9.0
REHEARSAL_OF_NEW = 0.02
"""As much of it also says that a class that the network lacks is not there."""

RIDGE = 0.01
STEPS = 60
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FOLDS = 4
"""Into so many groups strokes are dealt, each of which is left out in turn to choose the strength."""

UNTOLD = 0.5
"""The strength where no class has two strokes, one of which could be left out."""

HARM = 21.0
"""Weight of what changes elsewhere when the strength is chosen.

It is more than that of rehearsal: strokes lie on the worst mistakes, and gain more than the rest of an
image does. On ssTEM, which the bundled models know, half the solution is right, and on CDeep3M,
SNEMI and FlyEM three quarters and more; this value tells them apart after 10 and 40 strokes."""

_FOLD_STEPS = 30
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

    def part(self, which: npt.NDArray[np.bool_]) -> Pixels:
        """Return some of them, weighted anew."""
        weights = self.weights[which]
        return Pixels(
            self.features[which],
            self.logits[which],
            self.targets[which],
            weights / np.float32(max(1e-12, float(weights.sum()))),
            self.strokes[which],
        )

    def loss(self, change: Floats) -> float:
        """Return the mean cross-entropy where the logits change by (N, C)."""
        return float(_cross_entropy(self.logits + change, self.targets)[0] @ self.weights)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted residual, and what chose its strength.

    Attributes
    ----------
    residual : Residual
        Scaled by ``strength``.
    strength : float
        0 to 1.
    solution : ndarray
        (C, F + 1) for standardised features and 1, at full strength. The next fit can begin there.
    """

    residual: Residual
    strength: float
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

    def run(self, begin: Floats | None = None, strength: float = UNTOLD) -> Iterator[Fit]:
        """Yield fits; the last has as much of the solution as leaving some out in turn tells.

        Parameters
        ----------
        begin : ndarray, optional
            The solution of a problem much like this one.
        strength : float
            What the fits have until it is chosen.
        """
        solution = self._solve(self._painted, self._kept, begin, STEPS)
        if self._new_classes:  # what they are, the strokes alone tell
            yield self._fit(solution, 1.0)
            return
        groups = self._groups()
        if not groups:
            yield self._fit(solution, UNTOLD)
            return
        yield self._fit(solution, strength)
        losses = np.zeros(len(STRENGTHS))
        parts = np.random.default_rng(1).permutation(len(self._kept.strokes)) % len(groups)
        for number, group in enumerate(groups):
            held_out = np.isin(self._painted.strokes, group), parts == number
            learnt = self._painted.part(~held_out[0]), self._kept.part(~held_out[1])
            other = self._solve(*learnt, None, _FOLD_STEPS)  # from nothing: the solution knows all strokes
            for pixels, which, weight in zip((self._painted, self._kept), held_out, (1.0, HARM), strict=True):
                unseen = pixels.part(which)
                change = unseen.features @ other.T
                losses += [weight * unseen.loss(change * each) for each in STRENGTHS]
            yield self._fit(solution, strength)
        yield self._fit(solution, STRENGTHS[int(losses.argmin())])

    def _groups(self) -> list[npt.NDArray[np.int64]]:
        """Return groups of strokes, each to be left out in turn: not the only stroke of a class."""
        numbers, first = np.unique(self._painted.strokes, return_index=True)
        classes = self._painted.targets[first].argmax(axis=1)
        random = np.random.default_rng(0)
        order: list[int] = []
        for channel in np.unique(classes):
            of_class = random.permutation(numbers[classes == channel])
            order += of_class.tolist() if len(of_class) > 1 else []
        return [np.array(order[fold::FOLDS]) for fold in range(min(FOLDS, len(order)))]

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
        totals = -fit.strength * np.bincount(painted.strokes, weights=moved)
        return {int(stroke): float(totals[stroke]) for stroke in np.unique(painted.strokes)}

    def _standardised(self, features: Floats) -> Floats:
        features = (features - self._mean) / self._std
        return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)

    def _fit(self, solution: Floats, strength: float) -> Fit:
        weight = solution[:, :-1] / self._std
        bias = solution[:, -1] - weight @ self._mean
        weight, bias = (torch.from_numpy(np.float32(strength) * each) for each in (weight, bias))
        return Fit(Residual(weight, bias), strength, solution)

    def _solve(self, painted: Pixels, kept: Pixels, begin: Floats | None, steps: int) -> Floats:
        from scipy.optimize import minimize

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
                loss, first, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 10}
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
