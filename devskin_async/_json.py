"""JSON that RFC 8259 allows and msgspec refuses: a byte order mark, and half of a character."""

from __future__ import annotations

import re
from typing import Final

# U+FFFD, spelled as no encoder spells it: so what was replaced can still be counted in a row.
REPLACED: Final = rb"\uFffd"

_BOM = b"\xef\xbb\xbf"
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
    rb"|\\.",
    re.DOTALL,
)


def mend(body: bytes) -> bytes:
    """Drop a byte order mark, and replace unpaired surrogate escapes with U+FFFD."""
    text = body.removeprefix(_BOM)
    if b"\\ud" not in text and b"\\uD" not in text:  # found much sooner than each escape
        return text
    return _ESCAPE.sub(lambda escape: REPLACED if escape[1] else escape[0], text)
