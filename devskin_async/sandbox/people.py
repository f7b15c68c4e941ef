"""Customers with Brazilian names and addresses, as in the reference's examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
from mimesis import Address as AddressProvider
from mimesis import Person
from mimesis.locales import Locale

from .catalogue import Births, birthdays, slugify

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MAIL_HOSTS: Final = ("example.com", "example.net", "example.org")
"""Reserved by RFC 2606: no letter sent there reaches anybody."""

Address: TypeAlias = tuple[str, str, str, str]
"""Street, city, state, zip."""


@attrs.frozen
class Customer:
    """A customer before it has an id."""

    name: str
    email: str
    address: Address
    created_at: int


def make_customers(rng: random.Random, count: int, births: Births) -> list[Customer]:
    """Draw a store's customers.

    Args:
        rng: Where the chance comes from.
        count: How many customers.
        births: Since and until when they registered.

    Returns:
        The customers, oldest first; the first has been there from the beginning.
    """
    person = Person(locale=Locale.PT_BR, seed=rng.getrandbits(32))
    draw_address = address_source(rng)
    customers = []
    for number, created_at in enumerate(birthdays(rng, count, births), 1):
        name = person.full_name()
        # The number keeps the addresses of namesakes apart.
        local_part = f"{slugify(name).replace('-', '.')}.{number}"
        customers.append(
            Customer(
                name=name,
                email=f"{local_part}@{rng.choice(MAIL_HOSTS)}",
                address=draw_address(),
                created_at=created_at,
            )
        )
    return customers


def address_source(rng: random.Random) -> Callable[[], Address]:
    """Make a source of addresses.

    Args:
        rng: Where the source's seed comes from.

    Returns:
        A function that draws the next address.
    """
    address = AddressProvider(locale=Locale.PT_BR, seed=rng.getrandbits(32))

    def draw() -> Address:
        return (
            f"{address.street_name()} {address.street_number()}",
            address.city(),
            address.state(abbr=True).removeprefix("BR-"),
            address.zip_code(),
        )

    return draw
