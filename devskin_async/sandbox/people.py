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
    address = AddressProvider(locale=Locale.PT_BR, seed=rng.getrandbits(32))
    customers = []
    for number, created_at in enumerate(birthdays(rng, count, births), 1):
        name = person.full_name()
        # The number keeps the addresses of namesakes apart.
        local_part = f"{slugify(name).replace('-', '.')}.{number}"
        customers.append(
            Customer(
                name=name,
                email=f"{local_part}@{rng.choice(MAIL_HOSTS)}",
                address=_draw_address(address),
                created_at=created_at,
            )
        )
    return customers


def _draw_address(address: AddressProvider) -> Address:
    return (
        f"{address.street_name()} {address.street_number()}",
        address.city(),
        address.state(abbr=True).removeprefix("BR-"),
        address.zip_code(),
    )
