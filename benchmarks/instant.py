"""Seconds from a stroke to the updated view, with what was seen in memory, and the size of that memory.

    python benchmarks/instant.py
    python benchmarks/instant.py --model self-w16 --sides 512 1024 --strokes 40 --threads 2

A section made by code is painted stroke by stroke; each stroke is fitted and the view answered, which
was seen before. Beside it stands the same view segmented anew, which is what a stroke would cost without
memory. Processor seconds of one thread stand beside those of the clock, since others may share the machine.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from napari_feedback_seg import load_model
from napari_feedback_seg.correction.corrections import CorrectedSection
from napari_feedback_seg.correction.instant import InstantAnswers
from napari_feedback_seg.datasets.builtin import builtin_section
from napari_feedback_seg.segmentation.predict import segment


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="self-w16", help="name or file of a model")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the view, in pixels")
    parser.add_argument("--strokes", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    print("| view | segmented anew | stroke to view | 90 % | processor | cache, MB |")
    print("|---|---|---|---|---|---|")
    for side in options.sides:
        sample = builtin_section(side, seed=1)
        view = (slice(0, side), slice(0, side))
        started = time.perf_counter()
        segment(sample.image, model)
        anew = time.perf_counter() - started
        answers = InstantAnswers(model, memory_mb=4096)
        labels = np.zeros_like(sample.labels)
        drain(answers.answer(CorrectedSection(sample.image, labels), view))  # what is in view is seen
        times = [one(answers, sample, labels, view, number) for number in range(options.strokes)]
        first, cpu = np.median(times, axis=0)
        slow = np.quantile([each[0] for each in times], 0.9)
        print(
            f"| {side} x {side} | {anew:.2f} s | {first:.2f} s | {slow:.2f} s | {cpu:.2f} s "
            f"| {answers.cached_mb:.0f} |",
            flush=True,
        )


def one(answers: InstantAnswers, sample: Any, labels: np.ndarray, view: Any, number: int) -> list[float]:
    """Paint a stroke more; return the seconds to the view, of the processor."""
    random = np.random.default_rng(number)
    row, column = random.integers(0, labels.shape[0] - 60, 2)
    part = (slice(row, row + 6), slice(column, column + 50))
    value = np.bincount(sample.labels[part].ravel(), minlength=5).argmax()
    labels[part][sample.labels[part] == value] = value
    section = CorrectedSection(sample.image, labels.copy())
    started, cpu = time.perf_counter(), time.process_time()
    answers.set_strokes([section])
    events = answers.fit()
    next(each for each in events if each.changed)
    drain(answers.answer(section, view))
    first = [time.perf_counter() - started, time.process_time() - cpu]
    return first


def drain(events: Any) -> Any:
    """Return what a generator returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


if __name__ == "__main__":
    main()
