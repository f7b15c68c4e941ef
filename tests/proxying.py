"""A store behind TLS and a proxy that opens tunnels to it, both on loopback.

The store's name is `store.example`, which only the proxy can resolve.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from attrs import field, frozen

from . import samples

PEM = Path(__file__).with_name("store.example.pem")
BASE_URL = "https://store.example/api/v1"


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@frozen
class TlsStore:
    """A store that responds to everything with an overview.

    Args:
        port: Where it listens on 127.0.0.1.
        requests: The headers of each request.
    """

    port: int
    requests: list[dict[str, str]]


@asynccontextmanager
async def tls_store() -> AsyncIterator[TlsStore]:
    requests: list[dict[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        requests.append(dict(request.headers))
        return web.Response(body=samples.OVERVIEW)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls()).start()
        yield TlsStore(runner.addresses[0][1], requests)
    finally:
        await runner.cleanup()


@frozen
class ConnectProxy:
    """A proxy that knows one host.

    Args:
        url: Its address.
        connects: The head of each request that it got.
        carried: What went through its tunnels towards the store.
    """

    url: str
    connects: list[str] = field(factory=list)
    carried: bytearray = field(factory=bytearray)

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def with_login(self, login: str) -> str:
        return self.url.replace("://", f"://{login}@")


@asynccontextmanager
async def connect_proxy(
    target: int = 0, *, reply: bytes = b"HTTP/1.1 200 OK\r\n\r\n", tls: bool = False
) -> AsyncIterator[ConnectProxy]:
    """Run a proxy that opens each tunnel to a port of 127.0.0.1.

    Args:
        target: The port; 0 opens no tunnel and closes after the reply.
        reply: What it replies to a request.
        tls: Whether the proxy itself speaks TLS.
    """
    clients: list[asyncio.StreamWriter] = []
    served: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        served.append(asyncio.create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            proxy.connects.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(reply)
            if target:
                store, to_store = await asyncio.open_connection("127.0.0.1", target)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_carry(reader, to_store, proxy.carried))
                    both.create_task(_carry(store, writer, bytearray()))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=_tls() if tls else None)
    port = server.sockets[0].getsockname()[1]
    proxy = ConnectProxy(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    async with server:
        try:
            yield proxy
        finally:
            for writer in clients:
                writer.close()
            await asyncio.gather(*served)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            copy += data
            writer.write(data)
            await writer.drain()
    writer.close()


async def run_python(*words: str, **environment: str) -> tuple[int, str, str]:
    """Run a Python that trusts the store; return its exit code, stdout and stderr.

    Args:
        words: What follows `python` on the command line.
        environment: Variables that it finds, beside this process's.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        env={**os.environ, "DEVSKIN_BASE_URL": BASE_URL, "SSL_CERT_FILE": str(PEM), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
