"""Work that tells of its progress: generators of events, which return what they made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


def finish(events: Generator[Any, None, T]) -> T:
    """Run a generator of events to its end, and return what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            result: T = stop.value
            return result


def forward(
    events: Generator[Any, None, T], step: Callable[[Any], Any] = lambda _: None
) -> Generator[Any, None, T]:
    """Yield a step for each event of a generator, and return what it returns."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield step(event)
