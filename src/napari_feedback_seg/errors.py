"""The errors that a user is meant to read: each says what is wrong and what to do."""

from __future__ import annotations


class FeedbackSegError(Exception):
    """Base of all errors that this package raises for a user to read."""


class InputError(FeedbackSegError):
    """The image, the labels or the data set cannot be used as they are."""


class ModelError(FeedbackSegError):
    """A model file, a card or a network description cannot be used."""


class OutputError(FeedbackSegError):
    """A result cannot be written."""


class DeviceError(FeedbackSegError):
    """The device asked for is not there, or cannot do what was asked."""


class TrainingError(FeedbackSegError):
    """A training cannot start or cannot go on."""
