"""A host and a key have one budget, however the host is written."""

from __future__ import annotations

import base64
import hashlib

import pytest

from devskin_async.ratelimit.naming import budget_name

KEY = "sk_live_4f9a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1:8080", "localhost:8080"),
        ("[::1]:8080", "localhost:8080"),
        ("127.0.0.1:8080", "127.0.0.2:8080"),
        ("::1", "localhost"),
        ("localhost.", "localhost"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:8443", "api.example.com:8443"),
        ("API.Example.com", "api.example.com"),
        ("api.example.com:443", "api.example.com"),
        ("localhost:80", "localhost"),
        ("[2001:DB8:0::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_one_host_has_one_budget_however_it_is_written(one: str, other: str) -> None:
    assert budget_name(one, KEY) == budget_name(other, KEY)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("api.example.com", "api.example.org"),
        ("api.example.com:8443", "api.example.com"),
        ("localhost:8080", "localhost:8081"),
        ("[2001:db8::1]", "[2001:db8::2]"),
    ],
)
def test_other_hosts_and_ports_have_other_budgets(one: str, other: str) -> None:
    assert budget_name(one, KEY) != budget_name(other, KEY)


def test_another_key_has_another_budget() -> None:
    assert budget_name("localhost", KEY) != budget_name("localhost", KEY + "0")


def test_a_host_and_a_key_can_not_be_mistaken_for_another_pair() -> None:
    assert budget_name("a.example", "b" + KEY) != budget_name("a.exampleb", KEY)


@pytest.mark.parametrize("digest", ["sha256", "sha1", "md5", "blake2b"])
def test_the_name_is_not_a_digest_that_others_store_of_the_key(digest: str) -> None:
    plain = hashlib.new(digest, KEY.encode()).hexdigest()
    assert budget_name("localhost", KEY)[:16] not in plain
    assert KEY not in budget_name("localhost", KEY)
    assert base64.b16encode(KEY.encode()).decode().lower() not in budget_name("localhost", KEY)


def test_the_name_is_the_same_in_every_process_and_release() -> None:
    assert budget_name("api-marketplace.devskin.com", KEY) == "974f57502bf873d7b0a820fdf49b069d"
