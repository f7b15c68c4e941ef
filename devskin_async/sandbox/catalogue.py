"""Products with names a shop could carry."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
from mimesis import Text
from mimesis.locales import Locale

if TYPE_CHECKING:
    import random

Births: TypeAlias = tuple[int, int]
"""From and until when something may begin to exist, in milliseconds since 1970."""

MATERIALS: Final = (
    "Bamboo", "Canvas", "Ceramic", "Copper", "Cork", "Cotton", "Felt", "Glass", "Leather",
    "Linen", "Marble", "Oak", "Porcelain", "Stainless", "Suede", "Walnut", "Wool",
)  # fmt: skip
GOODS: Final = (
    ("Apron", 3900), ("Backpack", 18900), ("Blanket", 14900), ("Bowl", 4900), ("Cap", 5900),
    ("Chair", 38900), ("Clock", 12900), ("Coaster Set", 2900), ("Cushion", 6900), ("Desk", 74900),
    ("Journal", 3400), ("Keychain", 1900), ("Lamp", 15900), ("Mug", 3590), ("Notebook", 2490),
    ("Pen Case", 3290), ("Planter", 5490), ("Shelf", 21900), ("Side Table", 29900),
    ("Tote Bag", 7900), ("Tray", 5990), ("Vase", 8900), ("Wallet", 11900), ("Watch Strap", 9900),
)  # fmt: skip


@attrs.frozen
class Product:
    """A product before it has an id; the price is in cents."""

    name: str
    slug: str
    price: int
    stock: int
    status: Literal["active", "inactive"]
    created_at: int


def make_products(rng: random.Random, count: int, births: Births) -> list[Product]:
    """Draw a catalogue.

    Args:
        rng: Where the chance comes from.
        count: How many products.
        births: Since and until when products were added.

    Returns:
        The products, oldest first; the first has existed from the beginning.
    """
    text = Text(locale=Locale.EN, seed=rng.getrandbits(32))
    taken: set[str] = set()
    ages = birthdays(rng, count, births)
    return [_draw_product(rng, text, taken, created_at) for created_at in ages]


def _draw_product(rng: random.Random, text: Text, taken: set[str], created_at: int) -> Product:
    goods, usual_price = rng.choice(GOODS)
    name = f"{text.color()} {rng.choice(MATERIALS)} {goods}"
    slug = unique(slugify(name), taken)
    if (suffix := slug.removeprefix(slugify(name))) != "":
        name = f"{name} No.{suffix.replace('-', ' ')}"
    # Prices end in 0 cents or 90, as on a shelf.
    price = max(100, usual_price * rng.randrange(60, 160) // 10_000 * 100) + rng.choice((0, 90))
    return Product(
        name=name,
        slug=slug,
        price=price,
        stock=0 if rng.random() < 0.06 else rng.randrange(1, 400),  # noqa: PLR2004
        status="active" if rng.random() < 0.93 else "inactive",  # noqa: PLR2004
        created_at=created_at,
    )


def birthdays(rng: random.Random, count: int, births: Births) -> list[int]:
    """Draw when things began to exist.

    Args:
        rng: Where the chance comes from.
        count: How many instants.
        births: The earliest and the latest.

    Returns:
        Whole seconds in milliseconds since 1970, ascending; the first is the earliest possible,
        so that whatever happens later finds something there.
    """
    first, last = births
    later = (first + rng.randrange((last - first) // 1000) * 1000 for _ in range(count - 1))
    return sorted([first, *later][:count])


def slugify(name: str) -> str:
    """Make a name fit a URL.

    Args:
        name: Any text.

    Returns:
        Its ASCII letters and digits in lower case, with hyphens between words.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def unique(text: str, taken: set[str]) -> str:
    """Tell one text from its likes by a number, and remember it.

    Args:
        text: What is wanted.
        taken: What is gone already; the answer is added.

    Returns:
        The text, or the text with -2, -3, … if it was taken.
    """
    number, candidate = 1, text
    while candidate in taken:
        number += 1
        candidate = f"{text}-{number}"
    taken.add(candidate)
    return candidate
