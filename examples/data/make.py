"""Write tickets.parquet, the rows of the example jobs: the words of tickets.yaml, with attachments.

    python -m examples.data.make            write the file; the same bytes on every run
    python -m examples.data.make --check    compare the file with what would be written

Pictures and documents are made here, byte by byte, so that nothing else is needed to make them.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Turn: TypeAlias = dict[str, str]

HERE = Path(__file__).parent
TICKETS = HERE / "tickets.parquet"
WORDS = HERE / "tickets.yaml"
SIDE = 8  # pixels of a picture's side
ROLES = {"s": "system", "u": "user", "a": "assistant"}
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("tier", pa.string()),
        ("category", pa.string()),
        ("photo_url", pa.string()),
        ("photo", pa.binary()),
        ("photo_base64", pa.string()),
        ("contract_url", pa.string()),
        ("contract_pdf", pa.binary()),
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("turns_json", pa.string()),
    ]
)


def rows() -> Iterator[dict[str, object]]:
    """The tickets, in order."""
    for number, said in enumerate(yaml.safe_load(WORDS.read_text(encoding="utf-8")), start=1):
        kind, picture = photo(number)
        turns = conversation(said["turns"])
        yield {
            "id": f"T/2026/{number:04}",
            **{name: said[name] for name in ("text", "lang", "tier", "category")},
            "photo_url": f"https://photos.halden-cycles.example/{number:04}.{kind}",
            "photo": picture,
            "photo_base64": base64.b64encode(picture).decode(),
            "contract_url": f"https://files.halden-cycles.example/contracts/{number:04}.pdf",
            "contract_pdf": pdf(
                f"Service contract HC-S-{number:04}, plan {said['tier']}, 24 months"
            ),
            "turns": turns,
            "turns_json": json.dumps(turns, ensure_ascii=False),
        }


def conversation(said: Sequence[Mapping[str, str]]) -> list[Turn]:
    """Turns as models want them: who speaks, and what is said."""
    return [{"role": ROLES[who], "content": text} for turn in said for who, text in turn.items()]


def photo(number: int) -> tuple[str, bytes]:
    """A picture of one colour, in each of the formats that models read in turn."""
    shade = 20 * number % 256
    formats = (("png", png), ("jpg", jpeg), ("gif", gif), ("webp", webp))
    kind, make = formats[number % len(formats)]
    return kind, make(shade)


def png(shade: int) -> bytes:
    """Grey pixels, a filter byte before each line; stored, so that no compressor's taste shows."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([shade]) * SIDE) * SIDE, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(shade: int) -> bytes:
    """One grey block: the difference to mid-grey, and no other frequency."""
    level = shade - 128
    size = abs(level).bit_length()  # of the difference, coded in 4 bits
    bits = f"{size:04b}" + (
        f"{level if level > 0 else level + (1 << size) - 1:0{size}b}" * (size > 0)
    )
    bits += "0"  # end of block
    padded = bits + "1" * (-len(bits) % 8)
    scan = bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))
    steps = bytes([0, 8]) + bytes([1]) * 63  # the average in steps of 8, as it is 8 times too large
    frame = struct.pack(">BHHBBBB", 8, SIDE, SIDE, 1, 1, 0x11, 0)
    averages = bytes([0x00, 0, 0, 0, 12, *([0] * 12), *range(12)])  # 12 codes of 4 bits
    others = bytes([0x10, 1, *([0] * 15), 0])  # one code of 1 bit
    head = b"JFIF\0" + struct.pack(">BBBHHBB", 1, 1, 0, 1, 1, 0, 0)
    segments = (
        *((0xE0, head), (0xDB, steps), (0xC0, frame), (0xC4, averages), (0xC4, others)),
        (0xDA, bytes([1, 1, 0, 0, 63, 0])),
    )
    said = b"".join(
        b"\xff" + struct.pack(">BH", mark, len(data) + 2) + data for mark, data in segments
    )
    return b"\xff\xd8" + said + scan.replace(b"\xff", b"\xff\0") + b"\xff\xd9"


def gif(shade: int) -> bytes:
    """One pixel of two colours."""
    colours = bytes([shade, shade, 255 - shade, 255, 255, 255])
    picture = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + colours + picture + b";"


def webp(shade: int) -> bytes:
    """Lossless: five codes of a single symbol each, so that pixels take no bits at all."""
    bits = [(0, 1), (0, 1), (0, 1)]  # no transform, no colour cache, one group of codes
    for symbol in (shade, shade, 255 - shade, 255):
        bits += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    bits += [(1, 1), (0, 1), (0, 1), (0, 1)]  # distances
    size = [(SIDE - 1, 14), (SIDE - 1, 14), (0, 1), (0, 3)]
    data = b"\x2f" + _packed(size + bits)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _packed(fields: Sequence[tuple[int, int]]) -> bytes:
    """Values of so many bits each, lowest bit first."""
    whole = width = 0
    for value, bits in fields:
        whole |= value << width
        width += bits
    return whole.to_bytes((width + 7) // 8, "little")


def pdf(text: str) -> bytes:
    """One page with one line of text."""
    drawn = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode("ascii")
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 420 200]/Contents 4 0 R/Resources 6 0 R>>",
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Font<</F1 5 0 R>>>>",
    )
    whole, places = b"%PDF-1.4\n", []
    for number, said in enumerate(objects, start=1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, said)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    trailer = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, len(whole))
    return whole + b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table) + trailer


def table() -> pa.Table:
    """The tickets as the table in the file."""
    return pa.Table.from_pylist(list(rows()), schema=COLUMNS)


def file_bytes() -> bytes:
    """The tickets as a Parquet file; every option that shapes the bytes is said here."""
    sink = pa.BufferOutputStream()
    pq.write_table(table(), sink, version="2.6", compression="zstd", compression_level=19)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return] # pyarrow has no types


def main(arguments: Sequence[str]) -> int:
    """Run the script; the exit code."""
    if not arguments:
        TICKETS.write_bytes(file_bytes())
        return 0
    if list(arguments) != ["--check"]:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    same = pq.ParquetFile(TICKETS).read().equals(table())
    print("as written" if same else f"{TICKETS}: holds other rows than this would write")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
