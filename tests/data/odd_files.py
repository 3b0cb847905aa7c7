"""Writes two hundred damaged or odd files of some sixty kinds, as found among people's photos.

`make` says of each whether it is usable: usable files must decode, the others must be named and left
out. Run as a program it fills a folder: ``python tests/data/odd_files.py FOLDER``.
"""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Maker = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Odd:
    path: Path
    kind: str
    usable: bool


def photo(rng: random.Random, width: int = 0, height: int = 0) -> Image.Image:
    """A smooth picture of two colours with noise: compresses like a photo, is never flat."""
    width, height = width or rng.randint(24, 64), height or rng.randint(24, 64)
    noise = np.random.default_rng(rng.randrange(2**32))
    corner, other = noise.uniform(0, 255, 3), noise.uniform(0, 255, 3)
    slope = np.linspace(0, 1, width)[None, :, None] * np.linspace(0.5, 1, height)[:, None, None]
    pixels = corner * slope + other * (1 - slope) + noise.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def jpeg(rng: random.Random, **options: object) -> bytes:
    return saved(photo(rng), "JPEG", **options)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write; ``rows`` with their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra]
    chunks += [png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cut(data: bytes, rng: random.Random, low: float = 0.3, high: float = 0.9) -> bytes:
    return data[: int(len(data) * rng.uniform(low, high))]


def with_exif(rng: random.Random, block: bytes) -> bytes:
    """A JPEG whose EXIF block is ``block``, whatever that is."""
    data = jpeg(rng)
    body = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def oriented(rng: random.Random, turn: int, file_format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return saved(photo(rng), file_format, exif=exif)


def noise(rng: random.Random, count: int) -> bytes:
    return rng.randbytes(count)


def tiff_header(width: int, height: int) -> bytes:
    """A TIFF of one uncompressed grey strip that is not there."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height), (279, width)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def webp_header(width: int, height: int) -> bytes:
    """An animated WebP whose one frame of a pixel lies on a huge canvas."""

    def three(n: int) -> bytes:
        return struct.pack("<I", n)[:3]

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    frame = saved(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    canvas = chunk(b"VP8X", b"\x02\0\0\0" + three(width - 1) + three(height - 1))
    where = three(0) + three(0) + three(0) + three(0) + three(100) + b"\0"
    body = b"WEBP" + canvas + chunk(b"ANIM", b"\0" * 6) + chunk(b"ANMF", where + frame)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + info + b"\0" * 64


def palette(rng: random.Random) -> Image.Image:
    return photo(rng).quantize(16)


def frames(rng: random.Random) -> dict[str, object]:
    return {"save_all": True, "append_images": [photo(rng, 32, 32) for _ in range(3)], "duration": 50}


def ycck(rng: random.Random) -> bytes:
    """CMYK stored as Adobe's YCCK: the marker's last byte says 2."""
    data = bytearray(saved(photo(rng).convert("CMYK"), "JPEG"))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def grey16(rng: random.Random, *extra: bytes) -> bytes:
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 65536, (20, 30)).astype(">u2")
    return png(30, 20, 16, 0, b"".join(b"\0" + row.tobytes() for row in values), *extra)


def colour16(rng: random.Random, *extra: bytes) -> bytes:
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 65536, (20, 30, 3)).astype(">u2")
    return png(30, 20, 16, 2, b"".join(b"\0" + row.tobytes() for row in values), *extra)


def flipped_crc(data: bytes) -> bytes:
    """Damage the checksum of the IHDR chunk, which ends at byte 33."""
    return data[:32] + bytes([data[32] ^ 0xFF]) + data[33:]


def bad_deflate(rng: random.Random) -> bytes:
    data = bytearray(saved(photo(rng), "PNG"))
    start = data.index(b"IDAT") + 40
    data[start : start + 60] = noise(rng, 60)
    return bytes(data)


def text_bomb(rng: random.Random) -> bytes:
    """A good little PNG with a comment that unpacks to 80 MB."""
    note = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 80_000_000, 1))
    return png(2, 2, 8, 0, b"\0\x10\x20" * 2, note)


UNUSABLE: dict[str, tuple[str, Maker]] = {
    "empty": (".jpg", lambda r: b""),
    "one byte": (".jpg", lambda r: noise(r, 1)),
    "text": (".jpg", lambda r: b"This photo has moved to another folder.\n" * r.randint(1, 50)),
    "web page": (".jpg", lambda r: b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>"),
    "git-lfs pointer": (".png", lambda r: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
    "only zeros": (".jpg", lambda r: b"\0" * r.randint(100, 9000)),
    "random bytes": (".png", lambda r: b"\x01" + noise(r, r.randint(100, 9000))),
    "PDF": (".jpg", lambda r: b"%PDF-1.7\n" + noise(r, 500)),
    "SVG": (".png", lambda r: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "PostScript": (".jpg", lambda r: saved(photo(r), "EPS")),
    "Photoshop": (".jpg", lambda r: b"8BPS\0\1" + noise(r, 500)),
    "HEIC": (".jpg", lambda r: b"\0\0\0\x18ftypheic\0\0\0\0" + noise(r, 500)),
    "video": (".jpg", lambda r: b"\0\0\0\x18ftypisom\0\0\0\0" + noise(r, 500)),
    "zip": (".jpg", lambda r: b"PK\3\4" + noise(r, 500)),
    "icon": (".png", lambda r: saved(photo(r, 32, 32), "ICO")),
    "truncated JPEG": (".jpg", lambda r: cut(jpeg(r, quality=95), r, 0.5)),
    "truncated progressive JPEG": (".jpg", lambda r: cut(jpeg(r, quality=95, progressive=True), r, 0.4)),
    "JPEG header only": (".jpg", lambda r: jpeg(r)[: r.randint(3, 150)]),
    "JPEG second half lost in zeros": (".jpg", lambda r: (d := cut(jpeg(r), r, 0.1, 0.2)) + b"\0" * len(d)),
    "truncated PNG": (".png", lambda r: cut(saved(photo(r), "PNG"), r)),
    "PNG header only": (".png", lambda r: saved(photo(r), "PNG")[: r.randint(8, 33)]),
    "PNG with a wrong checksum": (".png", lambda r: flipped_crc(saved(photo(r), "PNG"))),
    "PNG with broken data": (".png", bad_deflate),
    "PNG without pixels": (".png", lambda r: png(0, 0, 8, 2, b"")),
    "PNG of an unknown kind": (".png", lambda r: png(2, 2, 7, 5, b"\0" * 20)),
    "truncated GIF": (".gif", lambda r: cut(saved(palette(r), "GIF"), r, 0.1)),
    "GIF without frames": (".gif", lambda r: b"GIF89a\x10\0\x10\0\0\0\0;"),
    "truncated WebP": (".webp", lambda r: cut(saved(photo(r), "WEBP"), r, 0.1)),
    "truncated BMP": (".bmp", lambda r: cut(saved(photo(r), "BMP"), r)),
    "truncated TIFF": (".tif", lambda r: cut(saved(photo(r), "TIFF"), r)),
    "truncated PPM": (".ppm", lambda r: cut(saved(photo(r), "PPM"), r)),
    "bomb PNG": (".png", lambda r: png(60_000, 60_000, 8, 2, b"\0" * 1000)),
    "smaller bomb PNG": (".png", lambda r: png(10_000, 10_000, 1, 0, b"\0" * 1000)),
    "bomb GIF": (
        ".gif",
        lambda r: b"GIF89a" + struct.pack("<HH", 65535, 65535) + saved(palette(r), "GIF")[10:],
    ),
    "bomb BMP": (".bmp", lambda r: bmp_header(40_000, 40_000)),
    "bomb TIFF": (".tif", lambda r: tiff_header(50_000, 50_000)),
    "bomb PPM": (".ppm", lambda r: b"P6\n30000 30000\n255\n" + noise(r, 100)),
    "bomb WebP": (".webp", lambda r: webp_header(16_000, 16_000)),
    "bomb in a PNG comment": (".png", text_bomb),
}

USABLE: dict[str, tuple[str, Maker]] = {
    "broken EXIF": (".jpg", lambda r: with_exif(r, b"II*\0\x08\0\0\0\xff\xff" + noise(r, 60))),
    "EXIF of noise": (".jpg", lambda r: with_exif(r, noise(r, r.randint(0, 200)))),
    "orientation out of range": (".jpg", lambda r: oriented(r, r.choice([0, 9, 60000]))),
    "oriented PNG": (".png", lambda r: oriented(r, r.randint(2, 8), "PNG")),
    "oriented WebP": (".webp", lambda r: oriented(r, r.randint(2, 8), "WEBP")),
    "oriented TIFF": (".tif", lambda r: oriented(r, r.randint(2, 8), "TIFF")),
    "progressive JPEG": (".jpg", lambda r: jpeg(r, progressive=True)),
    "grey JPEG": (".jpg", lambda r: saved(photo(r).convert("L"), "JPEG")),
    "CMYK JPEG": (".jpg", lambda r: saved(photo(r).convert("CMYK"), "JPEG")),
    "YCCK JPEG": (".jpg", ycck),
    "JPEG with bytes behind it": (".jpg", lambda r: jpeg(r) + noise(r, 500)),
    "JPEG with a profile of nonsense": (".jpg", lambda r: jpeg(r, icc_profile=noise(r, 300))),
    "JPEG with broken MPO": (
        ".jpg",
        lambda r: (d := jpeg(r))[:2] + b"\xff\xe2\0\x10MPF\0II*\0\x08\0\0\0\xff\xff" + d[2:],
    ),
    "MPO": (
        ".jpg",
        lambda r: saved(photo(r, 32, 32), "MPO", save_all=True, append_images=[photo(r, 32, 32)]),
    ),
    "PNG named jpg": (".jpg", lambda r: saved(photo(r), "PNG")),
    "JPEG named png": (".png", jpeg),
    "no extension": ("", jpeg),
    "RGBA": (".png", lambda r: saved(photo(r).convert("RGBA"), "PNG")),
    "grey with alpha": (".png", lambda r: saved(photo(r).convert("LA"), "PNG")),
    "palette": (".png", lambda r: saved(palette(r), "PNG")),
    "palette with one clear colour": (".png", lambda r: saved(palette(r), "PNG", transparency=3)),
    "palette with alpha": (".png", lambda r: saved(palette(r), "PNG", transparency=noise(r, 16))),
    "clear grey": (".png", lambda r: saved(photo(r).convert("L"), "PNG", transparency=40)),
    "clear colour": (".png", lambda r: saved(photo(r), "PNG", transparency=(1, 2, 3))),
    "clear black in 1 bit": (".png", lambda r: saved(photo(r).convert("1"), "PNG", transparency=0)),
    "16-bit grey": (".png", grey16),
    "16-bit grey with a clear value": (".png", lambda r: grey16(r, png_chunk(b"tRNS", b"\x01\x02"))),
    "16-bit colour": (".png", colour16),
    "16-bit colour with a clear one": (".png", lambda r: colour16(r, png_chunk(b"tRNS", b"\x01\x02" * 3))),
    "16-bit PGM": (".pgm", lambda r: b"P5\n5 4\n65535\n" + noise(r, 40)),
    "12-bit PGM": (".pgm", lambda r: b"P5\n5 4\n4095\n" + b"\x0a\x0b" * 20),
    "1 bit": (".png", lambda r: saved(photo(r).convert("1"), "PNG")),
    "animated GIF": (".gif", lambda r: saved(photo(r, 32, 32), "GIF", **frames(r))),
    "animated PNG": (".png", lambda r: saved(photo(r, 32, 32), "PNG", **frames(r))),
    "animated PNG with wrong counts": (
        ".png",
        lambda r: png(2, 2, 8, 0, b"\0\x10\x20" * 2, png_chunk(b"acTL", b"\0" * 8)),
    ),
    "animated WebP": (".webp", lambda r: saved(photo(r, 32, 32), "WEBP", **frames(r))),
    "lossless WebP with alpha": (".webp", lambda r: saved(photo(r).convert("RGBA"), "WEBP", lossless=True)),
    "TIFF of several pages": (
        ".tif",
        lambda r: saved(photo(r), "TIFF", save_all=True, append_images=[photo(r)]),
    ),
    "LZW TIFF": (".tif", lambda r: saved(photo(r), "TIFF", compression="tiff_lzw")),
    "float TIFF": (".tif", lambda r: saved(photo(r).convert("F"), "TIFF")),
    "integer TIFF": (".tif", lambda r: saved(photo(r).convert("I"), "TIFF")),
    "float TIFF with NaN": (
        ".tif",
        lambda r: saved(Image.fromarray(np.array([[np.nan, np.inf], [1, -3]], np.float32)), "TIFF"),
    ),
    "16-bit TIFF": (
        ".tif",
        lambda r: saved(Image.fromarray(np.full((5, 5), 4660, np.uint16)), "TIFF"),
    ),
    "CMYK TIFF": (".tif", lambda r: saved(photo(r).convert("CMYK"), "TIFF")),
    "BMP": (".bmp", lambda r: saved(photo(r), "BMP")),
    "plain PPM": (".ppm", lambda r: b"P3\n2 1\n255\n255 0 0  0 0 255\n"),
    "one pixel": (".png", lambda r: saved(photo(r, 1, 1), "PNG")),
    "one pixel high": (".png", lambda r: saved(photo(r, 5000, 1), "PNG")),
    "one pixel wide": (".png", lambda r: saved(photo(r, 1, 5000), "PNG")),
    **{f"orientation {turn}": (".jpg", lambda r, turn=turn: oriented(r, turn)) for turn in range(1, 9)},
}
Image.init()
if "AVIF" in Image.SAVE:
    USABLE["AVIF"] = (".avif", lambda r: saved(photo(r), "AVIF", speed=10))
    UNUSABLE["truncated AVIF"] = (".avif", lambda r: cut(saved(photo(r), "AVIF", speed=10), r))


def make(folder: Path, seed: int = 0) -> list[Odd]:
    """Write at least 200 files into ``folder``, two of each kind and more of the random ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    made = []
    for usable, kinds in ((False, UNUSABLE), (True, USABLE)):
        for kind, (extension, maker) in kinds.items():
            for number in range(4 if kind.startswith("truncated") else 2):
                path = folder / f"{kind} {number}{extension}"
                path.write_bytes(maker(rng))
                made.append(Odd(path, kind, usable))
    return made


if __name__ == "__main__":
    for odd in make(Path(sys.argv[1])):
        print("usable  " if odd.usable else "unusable", odd.path)
