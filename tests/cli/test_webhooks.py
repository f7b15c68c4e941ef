"""`devskin webhooks send` and `devskin webhooks verify`."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async.webhooks import (
    HEADER,
    OrderEvent,
    WebhookEvent,
    WebhookReceiver,
    aiohttp_handler,
    parse,
    sign,
    verify,
)

from .support import Devskin, in_thread

SECRET = "whsec_not-for-you"
BODY = (
    b'{"event":"order.paid","store_id":15,"timestamp":"2026-02-13T14:30:00.000Z","data":'
    b'{"id":1234,"order_number":"ORD-2026-001234","total":199.90,"status":"paid"}}'
)
LINE = "2026-02-13 14:30:00  order.paid       store 15  order 1234  ORD-2026-001234  199.90  paid\n"


class Shop:
    """A server that takes webhooks in, and notes them."""

    def __init__(self) -> None:
        self.events: list[WebhookEvent] = []
        self.requests: list[tuple[bytes, dict[str, str]]] = []
        self.answer: web.Response | None = None
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Shop]:
        receiver = WebhookReceiver(SECRET)
        receiver.on("*")(self.events.append)
        take = aiohttp_handler(receiver)

        async def handle(request: web.Request) -> web.StreamResponse:
            if self.answer is None:
                return await take(request)
            self.requests.append((await request.read(), dict(request.headers)))
            answer, headers = self.answer, dict(self.answer.headers)
            return web.Response(body=answer.body, status=answer.status, headers=headers)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/hook"))
            yield self


@pytest.fixture
def shop() -> Iterator[Shop]:
    with in_thread(Shop().open) as shop:
        yield shop


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKIN_WEBHOOK_SECRET", SECRET)


def typed(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))


with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def openssl(path: Path, secret: str = SECRET) -> str:
    """What another program says the signature is."""
    words = ("openssl", "dgst", "-sha256", "-hmac", secret, str(path))
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return f"sha256={ran.stdout.split()[-1]}"


def test_an_event_is_sent_signed_and_its_answer_shown(devskin: Devskin, shop: Shop) -> None:
    ran = devskin("webhooks", "send", "--to", shop.url, "--event", "order.shipped")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r'200 OK in \d+ ms  \{"received":true\}\n', ran.out)
    (event,) = shop.events
    assert (event.event, event.store_id) == ("order.shipped", 15)
    assert event.timestamp is not None
    assert event.data == OrderEvent(
        id=1234,
        order_number=f"ORD-{event.timestamp.year}-001234",
        total=Decimal("199.90"),
        status="shipped",  # type: ignore[arg-type]  # equal to the enum's member
    )


def test_an_event_is_of_now_so_that_two_are_not_taken_for_one(devskin: Devskin, shop: Shop) -> None:
    for _ in range(2):
        devskin("webhooks", "send", "--to", shop.url)
    first, second = shop.events
    assert first.timestamp is not None
    assert second.timestamp is not None
    assert first.timestamp < second.timestamp
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", json.loads(first.raw)["timestamp"])


def test_every_part_of_the_event_can_be_chosen(devskin: Devskin, shop: Shop) -> None:
    options = "--event order.lost --order-id 7 --order-number #7 --total 12345678901234567.10"
    ran = devskin(
        *("webhooks", "send", "--to", shop.url, "--status", "gone", "--store-id", "3"),
        *options.split(),
    )
    assert ran.code == 0
    (event,) = shop.events
    assert (event.event, event.store_id) == ("order.lost", 3)
    assert (event.order.id, event.order.order_number) == (7, "#7")
    assert (str(event.order.total), event.order.status) == ("12345678901234567.10", "gone")
    assert b'"total":12345678901234567.10,' in event.raw


@with_openssl
def test_the_signature_is_the_one_that_openssl_makes(
    devskin: Devskin, shop: Shop, tmp_path: Path
) -> None:
    shop.answer = web.Response()
    devskin("webhooks", "send", "--to", shop.url, "--order-number", "Ação 7")
    ((body, headers),) = shop.requests
    (tmp_path / "body").write_bytes(body)
    assert headers[HEADER] == openssl(tmp_path / "body")
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("data", "kept"), [('{ "a": 1.10 }', b'{ "a": 1.10 }'), (None, b"{}")])
def test_an_event_of_something_else_tells_the_data_it_is_given(
    data: str | None, kept: bytes, devskin: Devskin, shop: Shop
) -> None:
    options = () if data is None else ("--data", data)
    devskin("webhooks", "send", "--to", shop.url, "--event", "customer.created", *options)
    assert shop.events[0].raw.endswith(b',"data":' + kept + b"}")


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_body_is_sent_byte_by_byte(
    source: str, devskin: Devskin, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.answer = web.Response()
    body = b"\xff\x00 not JSON\r\n"
    (tmp_path / "body").write_bytes(body)
    typed(monkeypatch, body)
    path = "-" if source == "stdin" else str(tmp_path / "body")
    assert devskin("webhooks", "send", "--to", shop.url, "--body", path).code == 0
    ((sent, headers),) = shop.requests
    assert sent == body
    assert verify(sent, headers[HEADER], SECRET) == 0


def test_copies_are_the_same_request_and_their_event_is_handled_once(
    devskin: Devskin, shop: Shop
) -> None:
    ran = devskin("webhooks", "send", "--to", shop.url, "--copies", "5")
    assert ran.code == 0
    assert len(re.findall("^200 OK in ", ran.out, re.MULTILINE)) == 5
    assert len(shop.events) == 1


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (web.Response(status=503, text="later"), r"503 Service Unavailable in \d+ ms  later\n"),
        (web.Response(status=302, headers={"Location": "/hook"}), r"302 Found in \d+ ms\n"),
        (web.Response(status=599), r"599 in \d+ ms\n"),
        (
            web.Response(status=400, text="\x1b[2J\x9b2J[red]\nno"),
            r"400 Bad Request in \d+ ms  \[2J 2J\[red\] no\n",
        ),
        (
            web.Response(status=500, text="é" * 9000),
            r"500 Internal Server Error in \d+ ms  é{200}…\n",
        ),
    ],
    ids=lambda answer: str(answer.status) if isinstance(answer, web.Response) else "",
)
def test_another_answer_is_shown_on_one_line_and_is_exit_code_1(
    answer: web.Response, shown: str, devskin: Devskin, shop: Shop
) -> None:
    shop.answer = answer
    ran = devskin("webhooks", "send", "--to", shop.url)
    assert (ran.code, ran.err) == (1, "")
    assert re.fullmatch(shown, ran.out)
    assert len(shop.requests) == 1


def test_a_wrong_secret_is_refused(devskin: Devskin, shop: Shop) -> None:
    ran = devskin("webhooks", "send", "--to", shop.url, "--secret", "another")
    assert (ran.code, ran.err) == (1, "")
    assert "401 Unauthorized in" in ran.out


@pytest.mark.parametrize("copies", [1, 3])
def test_no_connection_is_one_line(copies: int, devskin: Devskin) -> None:
    with in_thread(Shop().open) as shop:
        url = shop.url
    ran = devskin("webhooks", "send", "--to", f"{url}?token=hidden", "--copies", str(copies))
    which = "" if copies == 1 else "3 requests without an answer: "
    told = f"devskin: {which}{url}: can't connect: Connection refused\n"
    assert ran == (1, "", told)


def test_a_name_that_is_not_found_is_one_line(devskin: Devskin) -> None:
    ran = devskin("webhooks", "send", "--to", "http://nowhere.invalid/")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("devskin: http://nowhere.invalid/: can't connect: ")
    assert len(ran.err.splitlines()) == 1


@with_openssl
def test_a_certificate_that_nobody_vouches_for_is_one_line(
    devskin: Devskin, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost"
    files = ("-keyout", key, "-out", certificate)
    subprocess.run(["openssl", *words.split(), *files], capture_output=True, check=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with in_thread(lambda: raw_server(b"", context)) as url:
        ran = devskin("webhooks", "send", "--to", url)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: {url}: can't trust it: ")
    assert len(ran.err.splitlines()) == 1


@asynccontextmanager
async def raw_server(
    answer: bytes | None, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Answer with some bytes and hang up; None is never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    async with server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "no response within 0.05 s"),
        (b"", "the connection broke: Server disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "the connection broke: "),
        (b"\x1b[2J\r\n\r\n", "the connection broke: "),
    ],
)
def test_an_answer_that_is_none_is_one_line(
    answer: bytes | None, told: str, devskin: Devskin
) -> None:
    timeout = "0.05" if answer is None else "20"
    with in_thread(lambda: raw_server(answer)) as url:
        ran = devskin("webhooks", "send", "--to", url, "--timeout", timeout)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: {url}: {told}")
    assert ran.err.rstrip("\n").isprintable()


TO = ("webhooks", "send", "--to", "http://localhost:1/")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("webhooks", "send"), "--to is required"),
        (("webhooks", "send", "--to", "localhost:8788"), "--to must be a URL such as http://"),
        (("webhooks", "send", "--to", "http://[::1"), "--to must be a URL such as http://"),
        (("webhooks", "send", "--to", "ftp://localhost/"), "--to must be a URL such as http://"),
        ((*TO, "--event", "order paid"), '--event must be a name such as "order.paid", not '),
        ((*TO, "--event", "order.*"), '--event must be a name such as "order.paid", not '),
        ((*TO, "--total", "1e5"), "--total must be a number such as 199.90, not '1e5'"),
        ((*TO, "--total", "NaN"), "--total must be a number such as 199.90, not 'NaN'"),
        ((*TO, "--order-id", "0"), "--order-id must be greater than 0, not 0"),
        ((*TO, "--store-id", "-1"), "--store-id must be greater than 0, not -1"),
        ((*TO, "--event", "a.b", "--total", "1"), "a.b is not an order event; give its data"),
        ((*TO, "--data", "{}", "--total", "1"), "--data is the whole of the data"),
        ((*TO, "--data", "{"), "--data is not JSON: "),
        ((*TO, "--body", "x", "--total", "1"), "--body is the whole of what is sent"),
        ((*TO, "--copies", "0"), "--copies must be 1 to 1,000, not 0"),
        ((*TO, "--timeout", "inf"), "--timeout must be a positive number of seconds, not inf"),
        (("webhooks", "verify"), "--signature is required"),
    ],
)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    argv: tuple[str, ...], told: str, devskin: Devskin
) -> None:
    ran = devskin(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("given", [None, "", " "])
@pytest.mark.parametrize("argv", [("listen",), TO[1:], ("verify", "--signature", "x")])
def test_without_a_secret_the_way_to_give_one_is_told(
    argv: tuple[str, ...], given: str | None, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEVSKIN_WEBHOOK_SECRET")
    ran = devskin("webhooks", *argv, *(() if given is None else ("--secret", given)))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "devskin: no webhook secret: set DEVSKIN_WEBHOOK_SECRET, or give --secret; the store's"
        " Settings → Webhooks has it\n"
    )


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    "argv",
    [
        ("listen", "--port", SECRET),
        ("listen", "--host", SECRET),
        ("listen", "--secret", SECRET, "--forward-to", SECRET),
        ("send", SECRET),
        ("send", "--to", f"http://{SECRET}.invalid"),
        ("send", "--to", "http://localhost:1", f"--secret={SECRET}", "--total", SECRET),
        ("verify", "--signature", SECRET, "--body", "/dev/null"),
        ("verify", "--signature", "x", "--body", SECRET),
        ("--secret", SECRET, "listen"),
        (SECRET,),
    ],
)
def test_the_secret_is_shown_in_no_error_wherever_it_was_put(
    argv: tuple[str, ...], debug: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_DEBUG", debug)
    if "--secret" in " ".join(argv):
        monkeypatch.delenv("DEVSKIN_WEBHOOK_SECRET")
    ran = devskin("webhooks", *argv)
    assert ran.code in (1, 2)
    assert ran.err
    assert SECRET not in ran.out + ran.err


@with_openssl
def test_a_signature_of_openssl_is_valid_and_the_event_is_told(
    devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body").write_bytes(BODY)
    typed(monkeypatch, BODY)
    ran = devskin("webhooks", "verify", "--signature", openssl(tmp_path / "body"))
    assert ran == (0, f"valid\n{LINE}", "")


def test_of_several_secrets_the_one_that_fits_is_told_by_its_number(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, BODY)
    options = ("--secret", "the-new-one", "--secret", "the-old-one")
    ran = devskin("webhooks", "verify", "--signature", sign(BODY, "the-old-one"), *options)
    assert ran == (0, f"valid: signed with secret 2 of 2\n{LINE}", "")


def test_a_secret_that_is_not_utf_8_stands_for_its_bytes(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, BODY)
    signature = sign(BODY, b"caf\xe9")
    assert (
        devskin("webhooks", "verify", "--signature", signature, "--secret", "caf\udce9").code == 0
    )


def test_what_is_signed_and_no_event_is_valid_and_told(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = BODY.replace(b'"order.paid"', b"null")
    typed(monkeypatch, body)
    ran = devskin("webhooks", "verify", "--signature", sign(body, SECRET))
    told = "valid\nBut it is not an event: $.event: expected the event's name, got null\n"
    assert ran == (0, told, "")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"event":"ping"}', "no timestamp         ping             no store\n"),
        (
            BODY.replace(b"199.90", b'"\\u001b[2J"').replace(b"15", b"null"),
            "2026-02-13 14:30:00  order.paid       no store  {}\n".format(
                r'{"id":1234,"order_number":"ORD-2026-001234","total":"\u001b[2J","status":"paid"}'
            ),
        ),
        (
            b'{"event":"order.paid","data":' + b"[" * 300 + b"]" * 300 + b"}",
            f"no timestamp         order.paid       no store  {'[' * 200}…\n",
        ),
    ],
)
def test_an_event_of_another_shape_is_valid_and_shown(
    body: bytes, line: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, body)
    ran = devskin("webhooks", "verify", "--signature", sign(body, SECRET))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"valid\n{line}"


def test_however_deep_an_event_nests_it_is_valid_and_told_on_one_line(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth in range(100, 4000, 50):
        body = b'{"event":"x","data":' + b"[" * depth + b"]" * depth + b"}"
        typed(monkeypatch, body)
        ran = devskin("webhooks", "verify", "--signature", sign(body, SECRET))
        assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 2)


@pytest.mark.parametrize(
    "body", [b'{"event":"ping"}', b'{"event":"order.deleted","data":{"id":7}}']
)
def test_an_event_of_any_shape_can_be_sent(
    body: bytes, devskin: Devskin, shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(body)
    ran = devskin("webhooks", "send", "--to", shop.url, "--body", str(tmp_path / "body"))
    assert ran.out.startswith("200 OK in ")
    argv = ("--event", "order.deleted", "--data", '{"id": 7}')
    assert devskin("webhooks", "send", "--to", shop.url, *argv).code == 0
    assert shop.events[0].raw == body
    assert shop.events[1].order_id == 7


@pytest.mark.parametrize("where", ["option", "environment"])
@pytest.mark.parametrize("secret", [f"{SECRET}\n", f" {SECRET}", f"\ufeff{SECRET}"])
@pytest.mark.parametrize(
    "argv", [("listen",), ("send", "--to", "http://localhost:1/"), ("verify", "--signature", "x")]
)
def test_a_secret_with_white_space_around_it_is_refused_with_the_reason(
    argv: tuple[str, ...],
    secret: str,
    where: str,
    devskin: Devskin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEVSKIN_WEBHOOK_SECRET", secret if where == "environment" else SECRET)
    ran = devskin("webhooks", *argv, *(("--secret", secret) if where == "option" else ()))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("devskin: the webhook secret begins or ends with white space, such")
    assert len(ran.err.splitlines()) == 1
    assert SECRET not in ran.err


def test_a_body_is_read_from_a_file_too(devskin: Devskin, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    argv = ("webhooks", "verify", "--signature", f" {sign(BODY, SECRET)}", "--body")
    assert devskin(*argv, str(path)).out == f"valid\n{LINE}"
    ran = devskin(*argv, f"{path}.gone")
    assert ran == (1, "", f"devskin: {path}.gone: No such file or directory\n")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (BODY.replace(b"199.90", b"199.9"), "the body was not signed with this secret"),
        (BODY + b"\n", "the body was not signed, but without its final line end it was: "),
        (BODY + b"\r\n", "the body was not signed, but without its final CR LF it was: "),
        (b"", "the body was not signed with this secret"),
    ],
)
def test_a_body_that_was_not_signed_is_one_line_and_never_the_right_signature(
    body: bytes, told: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, body)
    ran = devskin("webhooks", "verify", "--signature", sign(BODY, SECRET))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: {told}")
    assert len(ran.err.splitlines()) == 1
    assert not re.search("[0-9a-f]{64}", ran.err)


def test_a_line_end_that_the_shell_took_away_is_told(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, BODY)
    ran = devskin("webhooks", "verify", "--signature", sign(BODY + b"\n", SECRET))
    assert ran.code == 1
    assert "but with a final line end it was: " in ran.err


@pytest.mark.parametrize("signature", ["", "x", "sha1=" + "0" * 40, "0" * 64, "sha256=é\x1b"])
def test_what_is_no_signature_is_one_line(
    signature: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, BODY)
    ran = devskin("webhooks", "verify", "--signature", signature)
    told = f"devskin: the header {HEADER} must be 'sha256=' and 64 hexadecimal digits\n"
    assert ran == (1, "", told)


def test_who_is_to_type_the_body_is_told_so(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, BODY)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    ran = devskin("webhooks", "verify", "--signature", sign(BODY, SECRET))
    assert ran == (0, f"valid\n{LINE}", "Reading the body from the terminal; Ctrl-D ends it.\n")


def test_a_closed_stdin_is_one_line(devskin: Devskin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ran = devskin("webhooks", "verify", "--signature", "x")
    told = "devskin: stdin is closed: give the body by --body FILE, or by < FILE\n"
    assert ran == (1, "", told)


def test_what_is_sent_is_what_the_library_reads(devskin: Devskin, shop: Shop) -> None:
    devskin("webhooks", "send", "--to", shop.url, "--order-number", '"\\\x1b\u2028é')
    assert parse(shop.events[0].raw).order.order_number == '"\\\x1b\u2028é'
