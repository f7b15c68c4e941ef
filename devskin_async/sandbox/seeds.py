"""A generator of its own for every seed."""

from __future__ import annotations

import random


def seeded(seed: int) -> random.Random:
    """Make the generator of a seed; `random.Random` takes -1 for 1.

    Args:
        seed: Any integer.

    Returns:
        A generator that draws the same for the same seed: `random.Random`'s own from 0 up.
    """
    return random.Random(seed if seed >= 0 else str(seed))  # noqa: S311 - a store, not a secret
