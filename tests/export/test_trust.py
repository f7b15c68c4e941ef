"""Slices end where the API's totals are wrong too often, or bring too little for what they cost."""

from __future__ import annotations

import pytest

from devskin_async.export.trust import DistrustError, Trust


def test_answers_that_bring_nothing_end() -> None:
    trust = Trust(answers=200)
    with pytest.raises(DistrustError):
        trust.answered()


def test_answers_that_bring_rows_go_on() -> None:
    trust = Trust()
    for _ in range(10_000):
        trust.answered()
        trust.answered()
        trust.read(1)


def test_totals_that_are_wrong_again_and_again_end() -> None:
    trust = Trust(contradicted=20)
    with pytest.raises(DistrustError):
        trust.doubt()


def test_a_wrong_total_in_many_that_are_right_does_no_harm() -> None:
    trust = Trust()
    for number in range(1000):
        trust.read(2)
        if number % 20 == 0:
            trust.doubt()
