"""Uploads that mean harm, or are nonsense: what each sends, which field is at fault, and words of the refusal."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from PIL import Image

BOUNDARY = "boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
BOMB = 300 << 20  # bytes that a bomb unpacks to


@dataclass(frozen=True)
class Hostile:
    name: str
    words: str  # of the answer
    files: dict[str, bytes] = field(default_factory=dict)
    settings: str | None = None
    body: bytes | None = None  # as it is, instead of files and settings
    kind: str = MULTIPART
    status: int = 422


def picture(width: int = 64, height: int = 64, format: str = "PNG") -> bytes:
    made = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(made, format)
    return made.getvalue()


def pose() -> bytes:
    """A line on black."""
    made = io.BytesIO()
    drawn = Image.new("RGB", (64, 64))
    drawn.paste((0, 200, 0), (30, 8, 34, 56))
    drawn.save(made, "PNG")
    return made.getvalue()


def video(width: int = 64, height: int = 64, frames: int = 8, gap: int = 1, codec: str = "mpeg4") -> bytes:
    """`gap`: ticks of an eighth of a second from frame to frame."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 8)
        for index in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts = index * gap
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return made.getvalue()


def beside_a_still(width: int, height: int) -> bytes:
    """A small track of one frame, which comes first, and one of this size that moves."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        tracks = [container.add_stream("libx264", rate=8) for _ in range(2)]
        for stream, (wide, high) in zip(tracks, ((64, 64), (width, height)), strict=True):
            stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
        for index in range(2):
            for stream in tracks[index:]:
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream in tracks:
            container.mux(stream.encode())
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 96000), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return made.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def zip64(plain: bytes) -> bytes:
    """The archive with its members told by a zip64 record, and an end that tells of one."""
    *_, entries, size, start, _ = struct.unpack("<4s4H2LH", plain[-22:])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(plain) - 22, 1)
    return plain[:-22] + record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, start, 0)


def case(frames: int = 5, **other: bytes) -> dict[str, bytes]:
    """The members of a case, some of them replaced. A dot in a name is written as two underscores."""
    members = {"reference.png": picture()} | {f"poses/frame_{i}.png": pose() for i in range(frames)}
    return members | {name.replace("__", "."): content for name, content in other.items()}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *further: bytes, depth: int = 8, data: bytes = b"") -> bytes:
    """A PNG of any claimed size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(further) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def npz(**members: bytes) -> bytes:
    return archive({f"{name}.npy": content for name, content in members.items()})


def npy(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array, allow_pickle=True)
    return made.getvalue()


def nobody() -> bytes:
    """Keypoints without a person."""
    return npz(driving=npy(np.zeros((8, 1, 133, 3))), reference=npy(np.zeros((1, 133, 3))))


def npy_header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def part(name: str, content: bytes, *headers: str) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"; filename="x"', *headers]
    head = "\r\n".join([f"--{BOUNDARY}", *lines, "", ""])
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def bodies() -> Iterator[Hostile]:
    """Requests that are none."""
    both = part("reference", picture()) + part("driving", video())
    yield Hostile("nothing at all", "ended before", body=b"", status=400)
    yield Hostile("no field", "reference is missing", body=END)
    yield Hostile("another type", "multipart/form-data", body=b"{}", kind="application/json", status=415)
    yield Hostile("no boundary", "multipart/form-data", body=both + END, kind="multipart/form-data", status=415)
    yield Hostile("a cut body", "ended before", body=both, status=400)
    yield Hostile("no multipart", "cannot be read", body=b"\0" * 5000, status=400)
    yield Hostile(
        "an endless header", "cannot be read", body=part("reference", b"", "X: " + "y" * (1 << 20)), status=400
    )
    headers = [f"X-{number}: y" for number in range(20_000)]
    yield Hostile("countless headers", "cannot be read", body=part("reference", b"", *headers), status=400)
    yield Hostile("an unknown field", "there is no field 'passwd'", body=part("passwd", b"x") + END)
    yield Hostile("a field that is a path", "there is no field '../../x'", body=part("../../x", b"x") + END)
    yield Hostile("a field twice", "came twice", body=part("reference", b"x") + part("reference", b"x") + END)
    yield Hostile(
        "thousands of fields", "there is no field", body=b"".join(part(f"f{i}", b"") for i in range(5000)) + END
    )
    yield Hostile("a name of broken bytes", "cannot be read", body=both.replace(b"driving", b"\xff\xfe"), status=400)
    yield Hostile("video and case", "leave driving out", {"driving": video(), "reference": picture(), "case": b"PK"})
    yield Hostile("an empty file", "reference is empty", {"reference": b"", "driving": video()})


def settings() -> Iterator[Hostile]:
    files = {"case": archive(case())}
    for name, text, words in (
        ("no JSON", "{", "they are no JSON"),
        ("a deep nest", "[" * 30_000, "they are no JSON"),
        ("no number", '{"guidance": NaN}', "settings cannot be used"),
        ("a huge number", '{"steps": 1e308}', "settings cannot be used"),
        ("a path", '{"engines": "../../etc"}', "there is no engine set"),
        ("a secret setting", '{"models": "/etc"}', "models is not known"),
    ):
        yield Hostile(f"settings: {name}", words, files, text)
    yield Hostile("settings: a megabyte", "more than 65536 bytes", files, '{"engines": "' + "x" * (1 << 20), status=413)


def references() -> Iterator[Hostile]:
    bomb = zlib.compress(bytes(BOMB), 9)
    sof = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00\xff\xd9"
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xfe\x3f\x00\xfe\x3f\x00"
    bmp = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 1 << 30, -(1 << 30), 1, 24, *[0] * 6)
    )
    none, large = "is not a picture that can be read", "pixels"
    for name, content, words in (
        ("text", b"hello", none),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", none),
        ("GIF", picture(format="GIF"), none),
        ("TIFF", picture(format="TIFF"), none),
        ("PostScript, for which Pillow starts a program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", none),
        ("a PNG of ten thousand million pixels", png(100_000, 100_000), large),
        ("a PNG that unpacks to 300 MB", png(50_000, 50_000, depth=1, data=bomb), large),
        ("a PNG with a bomb in its text", png(64, 64, chunk(b"zTXt", b"a\0\0" + bomb), data=b""), "reference"),
        ("a cut PNG", picture()[:2000], "damaged or cut short"),
        ("a JPEG of four thousand million pixels", sof, large),
        ("a WebP of 268 million pixels", b"RIFF" + struct.pack("<I", len(webp)) + webp, "reference"),
        ("a BMP of absurd sides", bmp, "reference"),
        ("an archive", archive({"x": b""}), none),
    ):
        yield Hostile(f"reference: {name}", words, {"reference": content, "driving": video(), "keypoints": nobody()})


def drivings() -> Iterator[Hostile]:
    whole = video(frames=30)
    none, broken = "is not a video that can be read", "damaged or cut short"
    for name, content, words in (
        ("a playlist of other files", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", none),
        ("a list of other files", b"ffconcat version 1.0\nfile /etc/passwd\n", none),
        ("an address", b"http://127.0.0.1:1/video.mp4", none),
        ("a picture", picture(), none),
        ("noise that begins like an MP4", b"\0\0\0\x18ftypisom" + bytes(range(256)) * 40, broken),
        ("noise that begins like Matroska", b"\x1a\x45\xdf\xa3" + bytes(range(256)) * 40, broken),
        ("noise that begins like an AVI", b"RIFF\0\0\0\0AVI LIST" + bytes(range(256)) * 40, "has no pictures"),
        ("a cut MP4", whole[: len(whole) // 2], "has no pictures"),
        ("sound alone", sound(), "has no pictures"),
        ("a frame of 33 million pixels", video(8192, 4096, frames=1, codec="libx264"), "pixels a frame"),
        ("a large track behind a small one", beside_a_still(5120, 2880), "pixels a frame"),
        ("a frame of 8x8", video(8, 8), "at least 16 pixels"),
        ("a day long", video(frames=3, gap=8 * 40_000), "s long"),
        ("thousands of frames", video(32, 32, frames=3000), "frames to take"),
    ):
        yield Hostile(f"driving: {name}", words, {"reference": picture(), "driving": content, "keypoints": nobody()})


def keypoints() -> Iterator[Hostile]:
    both = {"reference": picture(), "driving": video()}
    objects = npy(np.array([{"a": 1}], dtype=object))
    for name, content, words in (
        ("no archive", b"hello", "not a zip file"),
        ("pickled objects", npz(driving=objects), "keypoints"),
        ("an array of 10^18 numbers", npz(driving=npy_header("(1000000000, 1000000000)")), "too large"),
        ("a bomb", npz(driving=npy_header("(300000000,)", "'|u1'") + bytes(BOMB)), "unpacks to"),
        ("a header that is code", npz(driving=npy_header("__import__('os').system('true')")), "no array of plain"),
        ("another shape", npz(driving=npy(np.zeros((3, 4)))), "driving is float64 [3, 4]"),
        ("nothing in it", npz(other=npy(np.zeros(3))), "has no array driving"),
    ):
        yield Hostile(f"keypoints: {name}", words, {**both, "keypoints": content})


def cases() -> Iterator[Hostile]:
    good, objects = archive(case()), npy(np.array([{}], dtype=object))
    link = zipfile.ZipInfo("poses/frame_9.png")
    link.external_attr = 0o120777 << 16
    linked = io.BytesIO()
    with zipfile.ZipFile(linked, "w") as file:
        for name, content in case().items():
            file.writestr(name, content)
        file.writestr(link, "/etc/passwd")
    encrypted = bytearray(good)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = encrypted.find(magic)
        encrypted[place + at] |= 1
    understated = bytearray(archive(case(reference__png=bytes(40 << 20))))
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # the claimed size, 100 bytes
        place = understated.find(magic)
        understated[place + at : place + at + 4] = struct.pack("<I", 100)
    many = archive({f"poses/frame_{number}.png": b"" for number in range(20_000)}, zipfile.ZIP_STORED)
    for name, content, words in (
        ("text", b"hello, this is no archive at all", "not a zip file"),
        ("20,000 members, told by a zip64 record alone", zip64(many), "zip64"),
        ("cut", good[: len(good) // 2], "not a zip file"),
        ("bytes after its end", good + b"more", "after its end"),
        ("a path out of it", archive(case() | {"../../../tmp/x": b"x"}), "leads out of the archive"),
        ("a path of the root", archive(case() | {"/etc/x": b"x"}), "no relative path"),
        ("a path of Windows", archive(case() | {"..\\x": b"x"}), "archive"),
        ("a link", linked.getvalue(), "a link or a device"),
        ("a bomb", archive(case(identity__npy=bytes(BOMB))), "unpacks to"),
        ("a bomb that understates itself", bytes(understated), "case"),
        ("20,000 members", many, "members"),
        ("a password", bytes(encrypted), "encrypted"),
        ("another compression", archive(case(), zipfile.ZIP_BZIP2), "not compressed by deflate"),
        ("no reference", archive({"poses/frame_0.png": picture()}), "holds no reference"),
        ("no poses", archive({"reference.png": picture()}), "poses"),
        ("too few poses", archive(case(2)), "takes 5 or more"),
        ("a pose twice", archive(case() | {"poses/0.png": picture()}), "carry the same number 0"),
        ("a pose that is none", archive(case() | {"poses/frame_3.png": b"no"}), "is not a picture"),
        ("a pose of absurd size", archive(case() | {"poses/frame_3.png": png(90_000, 90_000)}), "pixels"),
        (
            "an identity of pickled objects",
            archive(case(identity__npy=objects)),
            "plain numbers",
        ),
        ("another identity", archive(case(identity__npy=npy(np.zeros(3, np.float32)))), "must hold"),
    ):
        yield Hostile(f"case: {name}", words, {"case": content})


def hostile_uploads() -> list[Hostile]:
    """All of them: 300 MB of bombs are packed for it."""
    return [*bodies(), *settings(), *references(), *drivings(), *keypoints(), *cases()]
