"""The convex problem."""

from __future__ import annotations

import numpy as np

from napari_feedback_seg.correction.fitting import (
    PIXELS_OF_STROKE,
    REHEARSAL,
    RIDGE,
    SHARES,
    STROKES,
    Fitting,
    Pixels,
)


def problem(strokes: int = 8, seed: int = 0, pixels: int = PIXELS_OF_STROKE) -> tuple[Pixels, Pixels]:
    """Return strokes of two classes that a feature tells apart, and confident pixels elsewhere."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(strokes), pixels)
    classes = numbers % 2
    features = random.normal(size=(len(numbers), 6)).astype(np.float32)
    features[:, 0] += 4 * classes
    weights = np.full(len(numbers), 1 / len(numbers), np.float32)
    logits = np.zeros((len(numbers), 3), np.float32)
    painted = Pixels(features, logits, np.eye(3, dtype=np.float32)[classes], weights, numbers)
    kept_features = random.normal(size=(200, 6)).astype(np.float32)
    kept_logits = np.tile(np.float32([0, 0, 4]), (200, 1))
    p = np.exp(kept_logits) / np.exp(kept_logits).sum(axis=1, keepdims=True)
    kept = Pixels(kept_features, kept_logits, p, np.full(200, 1 / 200, np.float32), np.full(200, -1))
    return painted, kept


def objective(painted: Pixels, kept: Pixels, weight: np.ndarray, bias: np.ndarray) -> float:
    features = np.concatenate([kept.features, painted.features])
    ridge = RIDGE * ((weight * features.std(axis=0)) ** 2).sum()
    losses = [each.loss(each.features @ weight.T + bias) for each in (painted, kept)]
    return float(losses[0] + REHEARSAL * losses[1] + ridge)


def test_nothing_nearby_is_better() -> None:
    painted, kept = problem()
    fit = Fitting(painted, kept).run()
    weight, bias = (each.numpy() / fit.share for each in (fit.residual.weight, fit.residual.bias))
    best = objective(painted, kept, weight, bias)
    assert best < objective(painted, kept, 0 * weight, 0 * bias)
    random = np.random.default_rng(1)
    for size in (0.3, 0.03):
        for _ in range(20):
            other = weight + size * random.normal(size=weight.shape).astype(np.float32)
            assert objective(painted, kept, other, bias) > best


def test_it_begins_where_it_ended() -> None:
    fitting = Fitting(*problem())
    first = fitting.run()
    again = fitting.run(first.solution)
    assert np.allclose(first.solution, again.solution, atol=0.02)
    odd = fitting.run(np.zeros((9, 9), np.float32))
    assert np.allclose(first.solution, odd.solution, atol=0.02)


def test_a_new_class_is_taken_whole() -> None:
    painted, kept = problem(strokes=2)
    fits = [Fitting(painted, kept, new_classes=count).run() for count in (0, 1)]
    assert [each.share for each in fits] == [SHARES[0], 1.0]


def test_of_more_strokes_more_is_taken() -> None:
    few, many = STROKES[0], STROKES[-1]
    shares = [Fitting(*problem(count)).run().share for count in (1, *STROKES, 2 * many)]
    assert np.allclose(shares, [SHARES[0], *SHARES, SHARES[-1]])
    assert SHARES[0] < Fitting(*problem(few + 1)).run().share < SHARES[1]


def test_crumbs_of_strokes_count_less() -> None:
    many = STROKES[-1]
    whole, crumbs, fewer = (
        Fitting(*problem(count, pixels=pixels)).run().share
        for count, pixels in (
            (many, PIXELS_OF_STROKE),
            (many, PIXELS_OF_STROKE // 5),
            (many // 5, PIXELS_OF_STROKE),
        )
    )
    assert whole > crumbs
    assert np.isclose(crumbs, fewer)


def test_of_what_the_network_knows_less_is_taken() -> None:
    fitting = Fitting(*problem(STROKES[-1]))
    most, least = fitting.run(), fitting.run(known=True)
    assert np.allclose(most.residual.weight / most.share, least.residual.weight / least.share, rtol=1e-4)
    assert (most.share, least.share) == (SHARES[-1], SHARES[0])


def test_influence_is_what_goes_with_a_stroke() -> None:
    painted, kept = problem()
    fitting = Fitting(painted, kept)
    fit = fitting.run()
    place, direction = painted.features[:1] * 0.5, np.float32([1, -1, 0])
    found = fitting.influence(fit, place, direction)

    def said(solution: np.ndarray) -> float:
        features = np.concatenate([painted.features, kept.features])
        standardised = (place - features.mean(axis=0)) / features.std(axis=0)
        return float(direction @ solution @ np.append(standardised, 1))

    exact = {}
    for stroke in found:
        weights = np.where(painted.strokes == stroke, 0, painted.weights).astype(np.float32)
        rest = Pixels(painted.features, painted.logits, painted.targets, weights, painted.strokes)
        other = Fitting(rest, kept)
        exact[stroke] = said(fit.solution) - said(other.run(fit.solution).solution)
    order = np.corrcoef([found[each] for each in found], [exact[each] for each in found])[0, 1]
    assert order > 0.9
