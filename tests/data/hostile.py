"""Files that are small to send and would be dear to decode, made by code; `make` gives every kind.

Each is a picture that readers accept, or would: what must be bounded is the work, not the syntax.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np
from odd_files import bmp_header, png_chunk, tiff_header, webp_header
from PIL import Image


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def zeros(count: int) -> bytes:
    """A zlib stream of so many zeros, made without holding them."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(block[: count & (1 << 20) - 1]), packer.flush()])


# JPEG


def jpeg(width: int, height: int, **options: object) -> bytes:
    return saved(Image.new("RGB", (width, height), (90, 120, 30)), "JPEG", **options)


def many_scans(count: int, side: int = 4000) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = jpeg(side, side, progressive=True)
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[start:end] * (count - data.count(b"\xff\xda")) + data[end:]


def many_plain_scans(count: int, side: int = 1000) -> bytes:
    """A baseline JPEG with its scan again and again."""
    data = jpeg(side, side)
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[start:end] * (count - 1) + data[end:]


def behind_the_scans(filling: bytes) -> bytes:
    """A progressive JPEG with `filling` behind its scans, and more scans than are allowed behind that."""
    return jpeg(64, 48, progressive=True)[:-2] + filling + b"\xff\xda\0\x02" * 300


def one_scan(side: int, progressive: bool) -> bytes:
    """Of a JPEG in three colours the first scan alone: coarse, or of one colour."""
    data = jpeg(side, side, progressive=progressive, subsampling=0)
    start = data.index(b"\xff\xda")
    if progressive:
        return data[: data.index(b"\xff\xc4", start)] + data[-2:]
    grey = saved(Image.new("L", (side, side), 90), "JPEG")
    return data[:start] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + grey[grey.index(b"\xff\xda") + 10 :]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(segments: bytes) -> bytes:
    data = jpeg(64, 48)
    return data[:2] + segments + data[2:]


def exif_with(entries: int, size: int) -> bytes:
    """An EXIF block whose many entries all stand for the same bytes."""
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", entries)
    place = 14 + 12 * entries
    listed = b"".join(struct.pack("<HHLL", 1000 + n, 7, size, place) for n in range(entries))
    return head + listed + bytes(4) + bytes(size)


def turned(width: int, height: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(width, height, exif=exif, **options)


# PNG, GIF, WebP


def png(width: int, height: int, depth: int, colour: int, *extra: bytes, rows: int | None = None) -> bytes:
    """A PNG of zeros; `rows` of them are there."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    count = (height if rows is None else rows) * (1 + -(-width * channels * depth // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zeros(count)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def gif(blocks: bytes, width: int = 64, height: int = 48) -> bytes:
    """A GIF with `blocks` in front of its frame."""
    data = saved(Image.new("P", (width, height)), "GIF")
    at = data.index(b",")
    return data[:at] + blocks + data[at:]


def gif_frames(count: int) -> bytes:
    data = saved(Image.new("P", (4, 4)), "GIF")
    at = data.index(b",")
    return data[:at] + data[at:-1] * count + b";"


def webp_frames(count: int) -> bytes:
    data = webp_header(64, 48)
    at = data.index(b"ANMF")
    body = data[8:at] + data[at:] * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


# TIFF


def tiff(image: Image.Image, **options: object) -> bytes:
    return saved(image, "TIFF", **options)


def directories(count: int) -> bytes:
    """A small picture, and a chain of empty directories behind it."""
    data = bytearray(tiff(Image.new("L", (8, 8))))
    data += bytes(len(data) % 2)
    (first,) = struct.unpack_from("<L", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<L", data, first + 2 + 12 * entries, len(data))
    entry = struct.pack("<HHLL", 256, 4, 1, 8)
    for number in range(count):
        data += struct.pack("<H", 1) + entry
        data += struct.pack("<L", 0 if number == count - 1 else len(data) + 4)
    return bytes(data)


def tiff_of(tags: dict[int, tuple[int, int, int]], tail: bytes) -> bytes:
    """A TIFF of the given entries (type, count, value) and `tail` behind them."""
    listed = b"".join(struct.pack("<HHLL", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + listed + bytes(4) + tail


def overlapping(entries: int, size: int) -> bytes:
    """A good little picture among entries that all stand for the same `size` bytes."""
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    start = 14 + 12 * (entries + len(tags) + 3)
    tags |= {273: (4, 1, start), 278: (4, 1, 8), 279: (4, 1, 64)}
    tags |= {1000 + number: (7, size, start) for number in range(entries)}
    return tiff_of(tags, bytes(size + 64))


def giant_tile(side: int) -> bytes:
    """A picture of a few pixels in a tile of deflated zeros."""
    packed = zeros(10 * side)
    tags = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1), 277: (3, 1, 1)}
    start = 14 + 12 * (len(tags) + 4)
    tags |= {322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, start), 325: (4, 1, len(packed))}
    return tiff_of(tags, packed)


def many_bits(count: int) -> bytes:
    """Millions of bits per sample, which a reader makes a tuple of."""
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    start = 14 + 12 * (len(tags) + 4)
    tags |= {258: (3, count, start), 273: (4, 1, start), 278: (4, 1, 8), 279: (4, 1, 64)}
    return tiff_of(tags, b"\x08\0" * max(count, 32))


def shared_jpeg(strips: int) -> bytes:
    """Strips that are all the same JPEG of many scans."""
    stream = many_scans(90, 512)
    tags = {256: (4, 1, 512), 257: (4, 1, 512 * strips), 258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 6)}
    tags |= {277: (3, 1, 3), 278: (4, 1, 512)}
    start = 14 + 12 * (len(tags) + 2)
    tags |= {273: (4, strips, start), 279: (4, strips, start + 4 * strips)}
    return tiff_of(tags, np.repeat(np.array([start + 8 * strips, len(stream)], "<u4"), strips).tobytes() + stream)


def overlapping_jpeg(strips: int, size: int) -> bytes:
    """Strips that begin a byte behind one another, each as long as the file."""
    start = 14 + 12 * 9
    tags = {256: (4, 1, 8), 257: (4, 1, strips), 258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags |= {278: (4, 1, 1), 273: (4, strips, start), 279: (4, strips, start + 4 * strips)}
    offsets = np.arange(strips, dtype="<u4") + start + 8 * strips
    return tiff_of(tags, offsets.tobytes() + np.full(strips, size - strips, "<u4").tobytes() + bytes(size))


def run_lengths(width: int, height: int, count: int) -> bytes:
    """A BMP of run lengths of no pixels."""
    data = bytearray(bmp_header(width, height))
    struct.pack_into("<HL", data, 28, 8, 1)
    struct.pack_into("<L", data, 46, 2)
    return bytes(data[:54]) + bytes(8) + b"\xff\0" * count


Maker = Callable[[], bytes]

REFUSED: dict[str, tuple[str, Maker]] = {
    "JPEG of 1,000 scans": ("scans", lambda: many_scans(1000)),
    "JPEG of 20,000 scans": ("scans", lambda: many_scans(20_000, 1000)),
    "JPEG of 40 scans of 36 megapixels": ("scans", lambda: many_scans(40, 6000)),
    "JPEG of 2,000 plain scans": ("scans", lambda: many_plain_scans(2000)),
    "JPEG of a million segments": ("segments", lambda: with_segments(segment(0xFE, b"") * 10**6)),
    "JPEG of a million restarts": ("scans", lambda: behind_the_scans(b"\xff\xd0" * 10**7)),
    "JPEG of a million comments behind its scans": ("segments", lambda: behind_the_scans(segment(0xFE, b"") * 10**6)),
    "PNG of a million chunks": ("chunks", lambda: png(8, 8, 8, 2, png_chunk(b"teSt", b"") * 10**6)),
    "PNG of many profiles": (
        "profiles",
        lambda: png(8, 8, 8, 2, png_chunk(b"iCCP", b"a\0\0" + zeros(10**6)) * 1000),
    ),
    "PNG of comments that unpack": ("too large", lambda: png(8, 8, 8, 2, png_chunk(b"zTXt", b"a\0\0" + zeros(10**8)))),
    "PNG of 64 megapixels with alpha": ("MB of memory", lambda: png(8000, 8000, 8, 6, rows=10)),
    "PNG 64 million pixels long": ("sides", lambda: png(1, 64_000_000, 8, 0, rows=10)),
    "GIF of a long comment": ("blocks", lambda: gif(b"!\xfe" + (b"\xff" + b"a" * 255) * 80_000 + b"\0")),
    "GIF of a million blocks": ("blocks", lambda: gif(b"!\xfe\x01a\0" * 10**6)),
    "GIF on a huge canvas": ("million", lambda: gif(b"", 8001, 8001)),
    "WebP on a huge canvas": ("MB of memory", lambda: webp_header(8000, 8000)),
    "WebP of 100,000 frames": ("chunks", lambda: webp_frames(100_000)),
    "TIFF in a giant tile": ("MB of memory", lambda: giant_tile(30_000)),
    "TIFF of strips that are one JPEG": ("share", lambda: shared_jpeg(100)),
    "TIFF of strips of JPEG that overlap": ("share", lambda: overlapping_jpeg(60_000, 10**7)),
    "TIFF of 60,000 entries": ("entries", lambda: overlapping(40_000, 100)),
    "TIFF of a million strips": (
        "strips",
        lambda: tiff_of({256: (4, 1, 8), 257: (4, 1, 8), 273: (4, 10**6, 8)}, b"a" * 10**7),
    ),
    "TIFF of 50,000 x 50,000": ("million", lambda: tiff_header(50_000, 50_000)),
    "BMP of run lengths": ("run-length", lambda: run_lengths(1000, 1000, 10**7)),
    "BMP of run lengths of many pixels": ("run-length", lambda: run_lengths(8000, 8000, 100)),
    "plain PNM of many numbers": ("plain PNM", lambda: b"P3 4000 2000 255\n" + b"0 " * 24_000_000),
    "plain PNM of comments": ("comments", lambda: b"P2 8 8 255\n" + b"#\n" * 500_000 + b"0 " * 64),
    "PNM of a long header": ("header", lambda: b"P5 #" + b"a" * 10**8 + b"\n8 8 255\n" + bytes(64)),
}

READ: dict[str, tuple[tuple[int, int], Maker]] = {
    "PNM of an odd depth": ((5000, 5000), lambda: b"P6 5000 5000 254\n" + bytes(75_000_000)),
    "JPEG of 64 megapixels": ((8000, 8000), lambda: jpeg(8000, 8000)),
    "JPEG of 64 megapixels, turned": ((4000, 4000), lambda: turned(8000, 8000)),
    "JPEG of 48 megapixels, turned": ((6000, 8000), lambda: turned(8000, 6000)),
    "JPEG of 64 megapixels, progressive": ((4000, 4000), lambda: jpeg(8000, 8000, progressive=True)),
    "JPEG of 64 megapixels in one coarse scan": ((1000, 1000), lambda: one_scan(8000, True)),
    "JPEG of 64 megapixels in a scan of one colour": ((1000, 1000), lambda: one_scan(8000, False)),
    "JPEG of 1,000 EXIF segments": (
        (64, 48),
        lambda: with_segments(segment(0xE1, b"Exif\0\0" + exif_with(1, 65_000)) * 1000),
    ),
    "JPEG of an EXIF block of overlaps": (
        (64, 48),
        lambda: with_segments(segment(0xE1, b"Exif\0\0" + exif_with(2600, 34_000))),
    ),
    "JPEG of an EXIF block of prefixes": ((64, 48), lambda: with_segments(segment(0xE1, b"Exif\0\0" * 10_000) * 16)),
    "JPEG behind filling": ((64, 48), lambda: (d := jpeg(64, 48))[:2] + b"\xff" * 10**7 + d[2:]),
    "PNG of 64 megapixels, 16 bits": ((8000, 8000), lambda: png(8000, 8000, 16, 0)),
    "PNG of 64 megapixels, 16 bits in three colours": ((8000, 8000), lambda: png(8000, 8000, 16, 2)),
    "PNG of 64 megapixels in a palette with alpha": (
        (8000, 8000),
        lambda: png(8000, 8000, 8, 3, png_chunk(b"PLTE", bytes(6)), png_chunk(b"tRNS", b"\x10\x20")),
    ),
    "PNG of an EXIF block of prefixes": ((8, 8), lambda: png(8, 8, 8, 2, png_chunk(b"eXIf", b"Exif\0\0" * 10**6))),
    "PNG a million pixels long": ((60, 2**20), lambda: png(60, 2**20, 8, 0)),
    "PNG a million pixels wide": ((2**20, 60), lambda: png(2**20, 60, 8, 2)),
    "GIF of 100,000 frames": ((4, 4), lambda: gif_frames(100_000)),
    "WebP of 20 megapixels without loss": (
        (5000, 4000),
        lambda: saved(Image.new("RGB", (5000, 4000)), "WEBP", lossless=True, method=0, quality=0),
    ),
    "WebP of 20 megapixels": ((5000, 4000), lambda: saved(Image.new("RGB", (5000, 4000)), "WEBP", method=0)),
    "TIFF of 100,000 directories": ((8, 8), lambda: directories(100_000)),
    "TIFF of 64 megapixels of floats": (
        (8000, 8000),
        lambda: tiff(Image.new("F", (8000, 8000)), compression="tiff_adobe_deflate"),
    ),
    "TIFF of 24 megapixels of whole numbers, in one strip": (
        (6000, 4000),
        lambda: tiff(Image.new("I", (6000, 4000)), compression="tiff_lzw", strip_size=2**30),
    ),
    "TIFF of overlaps": ((8, 8), lambda: overlapping(3000, 10**6)),
    "TIFF of many bits": ((8, 8), lambda: many_bits(2 * 10**7)),
}
Image.init()
if "AVIF" in Image.SAVE:
    READ["AVIF of 20 megapixels"] = (
        (5000, 4000),
        lambda: saved(Image.fromarray(np.full((4000, 5000, 3), 90, np.uint8)), "AVIF", speed=10),
    )
    REFUSED["AVIF that says 64 million pixels"] = (
        "million",
        lambda: re.sub(rb"(?s)(?<=ispe\0\0\0\0).{8}", b"\0\0\xff\xff" * 2, saved(Image.new("RGB", (64, 48)), "AVIF")),
    )


def make(kind: str) -> bytes:
    return (REFUSED.get(kind) or READ[kind])[1]()
