"""The verified winner: the best schedules of a search once more, on fresh seeds and unseen data."""

from lrsearch.confirm.candidates import confirmation_spec, confirming
from lrsearch.confirm.confirmation import (
    Confirmation,
    Entry,
    last_confirmation,
    read_confirmation,
)
from lrsearch.confirm.words import confirmed_rows, in_words

__all__ = [
    "Confirmation",
    "Entry",
    "confirmation_spec",
    "confirmed_rows",
    "confirming",
    "in_words",
    "last_confirmation",
    "read_confirmation",
]
