"""Words of cases and of testees: bytes as one word without spaces, in ASCII.

    abc%20%00    letters, digits and _.:,/+- stand for themselves, %XX for the byte XX
    %            no byte at all
    @100:61      the byte 61 (hexadecimal), 100 times
    $5000:7      the pattern 7 of 5,000 bytes: byte i is (167 * i + 13 * (i / 256) + 7) mod 256

A testee reads all four. It writes (`encode`) the first two; the third for more than 64 equal bytes;
and #SIZE:CRC, with the CRC-32 of zlib as 8 hexadecimal digits, for more than 1,024 bytes that are
not all equal. A word of "-" alone is written %2D, because "-" says that there is no value.
"""

import functools
import re
import zlib

PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:,/+-")
LONGEST_TEXT = 1024
LONGEST_RUN_AS_TEXT = 64


@functools.lru_cache(maxsize=64)
def pattern(size: int, start: int) -> bytes:
    """The bytes of the word $SIZE:START."""
    blocks = []
    for block in range((size + 255) // 256):
        blocks.append(bytes((167 * i + 13 * block + start) & 255 for i in range(256)))
        if len(blocks) == 256:  # 13 * 256 is 0 modulo 256: the blocks repeat
            whole = b"".join(blocks)
            return (whole * (size // len(whole) + 1))[:size]
    return b"".join(blocks)[:size]


def decode(word: str) -> bytes:
    """The bytes that a word stands for. ValueError if it stands for none."""
    if word == "%":
        return b""
    run = re.fullmatch(r"@(\d+):([0-9A-Fa-f]{2})", word)
    if run:
        return bytes([int(run[2], 16)]) * int(run[1])
    drawn = re.fullmatch(r"\$(\d+):(\d+)", word)
    if drawn:
        return pattern(int(drawn[1]), int(drawn[2]))
    if not re.fullmatch(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+", word):
        raise ValueError(f"'{word[:80]}' is not a word: write other bytes than printable ASCII as %XX")
    return re.sub(rb"%(..)", lambda match: bytes([int(match[1], 16)]), word.encode())


def encode(data: bytes) -> str:
    """The one word that a testee writes for these bytes."""
    if not data:
        return "%"
    if data == b"-":
        return "%2D"
    if len(data) > LONGEST_RUN_AS_TEXT and data == data[:1] * len(data):
        return f"@{len(data)}:{data[0]:02X}"
    if len(data) > LONGEST_TEXT:
        return f"#{len(data)}:{zlib.crc32(data):08X}"
    return "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in data)


def canonical(word: str) -> str:
    """A word of bytes as a testee writes it."""
    return encode(decode(word))
