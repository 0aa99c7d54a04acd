"""What sa-run says of a case, an output folder or a flag that it cannot use; nothing is added or changed."""

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
from command_lines import CASE, copied, run_arguments
from shared import GOLDEN
from spoiling import (
    OUT_IN_THE_WAY,
    CreatesAFile,
    Row,
    Spoil,
    all_of,
    check,
    copy,
    cut,
    damage,
    each,
    remove,
    rename,
    write,
    write_array,
    write_image,
)


def huge_png(width: int, height: int) -> bytes:
    """A file of a few bytes that claims many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def write_noise(**arrays: object) -> Spoil:
    """noise.npz as it should be, with these arrays in place of its own; an ellipsis takes an array out."""

    def spoil(place: Path) -> None:
        with np.load(GOLDEN / CASE / "inputs" / "noise.npz") as good:
            changed = {name: value for name, value in ({**good, **arrays}).items() if value is not ...}
        np.savez(place / "noise.npz", **changed)

    return spoil


CASE_ROWS = [
    Row(
        "no folder", "{place}/case is not a folder: give --case a folder with reference.png and poses/.", remove("case")
    ),
    Row(
        "a file for a folder",
        "{place}/case is not a folder: give --case a folder with reference.png and poses/.",
        all_of(remove("case"), write("case")),
    ),
    Row(
        "no reference",
        "{place}/case must hold exactly one reference image (reference.png, .jpg, .webp, .bmp, .tif or .avif), "
        "found none: add one.",
        remove("case/reference.png"),
    ),
    Row(
        "an HEIC photo for a reference",
        "{place}/case must hold exactly one reference image (reference.png, .jpg, .webp, .bmp, .tif or .avif), "
        "found reference.heic: this type is not read, convert it to PNG or JPEG.",
        rename("case/reference.png", "case/reference.heic"),
    ),
    Row(
        "two references",
        "{place}/case must hold exactly one reference image (reference.png, .jpg, .webp, .bmp, .tif or .avif), "
        "found reference.jpg, reference.png: keep one of them.",
        write_image("case/reference.jpg", 64, 64),
    ),
    Row(
        "a broken reference",
        "{place}/case/reference.png is damaged or cut short; expected a whole image, replace it.",
        damage("case/reference.png"),
    ),
    Row(
        "a truncated reference",
        "{place}/case/reference.png is damaged or cut short; expected a whole image, replace it.",
        cut("case/reference.png", 20_000),
    ),
    Row(
        "a text for a reference",
        "{place}/case/reference.png is not an image that can be read; expected a PNG, JPEG, WebP, BMP, TIFF or AVIF.",
        write("case/reference.png", "a person, smiling"),
    ),
    Row(
        "a program for a reference",
        "{place}/case/reference.png is not an image that can be read; expected a PNG, JPEG, WebP, BMP, TIFF or AVIF.",
        write("case/reference.png", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ),
    Row(
        "a folder for a reference",
        "{place}/case/reference.png cannot be read (Is a directory); expected an image file, replace it.",
        all_of(remove("case/reference.png"), write("case/reference.png/x")),
    ),
    Row(
        "a tiny reference",
        "{place}/case/reference.png is 100x15 pixels; a reference needs at least 16 on each side; give a larger one.",
        write_image("case/reference.png", 100, 15),
    ),
    Row(
        "a reference of too many pixels",
        "{place}/case/reference.png has more than 201,326,592 pixels; give a smaller image.",
        write("case/reference.png", huge_png(20_000, 11_000)),
    ),
    Row(
        "a reference of far too many pixels",
        "{place}/case/reference.png has more than 201,326,592 pixels; give a smaller image.",
        write("case/reference.png", huge_png(60_000, 60_000)),
    ),
    Row(
        "no poses",
        "{place}/case/poses is missing: a case needs a folder of pose images frame_0.png, frame_1.png, ...; add it.",
        remove("case/poses"),
    ),
    Row(
        "an empty folder of poses",
        "{place}/case/poses holds no image: a case needs pose images frame_0.png, frame_1.png, ...; add them.",
        all_of(remove("case/poses"), write("case/poses/notes.txt")),
    ),
    Row(
        "a truncated pose",
        "{place}/case/poses/frame_3.png is damaged or cut short; expected a whole image, replace it.",
        cut("case/poses/frame_3.png", 30),
    ),
    Row(
        "a text for a pose",
        "{place}/case/poses/frame_3.png is not an image that can be read; "
        "expected a PNG, JPEG, WebP, BMP, TIFF or AVIF.",
        write("case/poses/frame_3.png", "arms up"),
    ),
    Row(
        "a pose without a number",
        "{place}/case/poses/frame.png has no number in its name: "
        "expected pose images frame_0.png, frame_1.png, ..., rename or remove it.",
        write_image("case/poses/frame.png", 64, 64),
    ),
    Row(
        "two poses of one number",
        "{place}/case/poses/frame_3.png and frame_03.png carry the same number 3: keep one of them.",
        write_image("case/poses/frame_03.png", 64, 64),
    ),
    Row(
        "frames for poses",
        "{place}/case/poses/frame_0.png and all other poses are pictures, not skeletons drawn on black: run sa-prepare "
        "on them, which draws the poses.",
        all_of(*(copy("case/reference.png", f"case/poses/frame_{i}.png") for i in range(5))),
    ),
    Row(
        "a pose less than a tile",
        "{place}/case/poses has 4 poses, but the engine set needs at least its tile of 5 frames; "
        "add poses or export an engine set that fits with `sa-export --checkpoint CHECKPOINT --out ENGINES --backend "
        "onnxruntime --precision fp32 --height 64 --width 64 --tile-size 4 --decode-chunk 4`.",
        remove("case/poses/frame_4.png"),
    ),
    Row(
        "a single pose",
        "{place}/case/poses has 1 pose, but the engine set needs at least its tile of 5 frames; add poses.",
        all_of(*(remove(f"case/poses/frame_{i}.png") for i in range(1, 5))),
    ),
    Row(
        "no identity",
        "{place}/case has no identity.npy: "
        "give the face recogniser's embedding of the reference as --identity FILE.npy ([512] floats, not normalised), "
        "put it there, give --models DIR with insightface's antelopev2, or pass --identity none to go without.",
        remove("case/identity.npy"),
    ),
    Row(
        "a missing identity",
        "{place}/face.npy cannot be read (No such file or directory): "
        "--identity takes a .npy file with 512 floats, or none.",
        flags=("--identity", "{place}/face.npy"),
    ),
    Row(
        "a folder for an identity",
        "{place} cannot be read (Is a directory): --identity takes a .npy file with 512 floats, or none.",
        flags=("--identity", "{place}"),
    ),
    Row(
        "an identity too short",
        "{place}/case/identity.npy must hold 512 float32 or float64 numbers, found float32 [256]: "
        "make the identity embedding again.",
        write_array("case/identity.npy", np.zeros(256, np.float32)),
    ),
    Row(
        "an identity of integers",
        "{place}/case/identity.npy must hold 512 float32 or float64 numbers, found int64 [512]: "
        "make the identity embedding again.",
        write_array("case/identity.npy", np.zeros(512, np.int64)),
    ),
    Row(
        "a pickled identity",
        "{place}/case/identity.npy is not a .npy file of plain numbers: expected 512 floats; "
        "make the identity embedding again.",
        lambda place: write_array("case/identity.npy", np.array(CreatesAFile(place / "ran"), object))(place),
    ),
    Row(
        "a plain pickle for an identity",
        "{place}/case/identity.npy is not a .npy file of plain numbers: expected 512 floats; "
        "make the identity embedding again.",
        lambda place: write("case/identity.npy", pickle.dumps(CreatesAFile(place / "ran")))(place),
    ),
    Row(
        "an empty identity",
        "{place}/case/identity.npy is not a .npy file of plain numbers: expected 512 floats; "
        "make the identity embedding again.",
        write("case/identity.npy"),
    ),
    Row(
        "an identity that is half a zip",
        "{place}/case/identity.npy is not a .npy file of plain numbers: expected 512 floats; "
        "make the identity embedding again.",
        write("case/identity.npy", b"PK\x03\x04 no zip"),
    ),
    Row(
        "an archive for an identity",
        "{place}/case/identity.npy must hold 512 float32 or float64 numbers, found an archive: "
        "make the identity embedding again.",
        all_of(write_noise(), rename("noise.npz", "case/identity.npy")),
    ),
    Row(
        "a normalised identity",
        "{place}/case/identity.npy is normalised (its norm is 1): the face encoder takes the raw embedding, which "
        "insightface calls embedding, not normed_embedding; make it again.",
        write_array("case/identity.npy", np.full(512, 512**-0.5, np.float32)),
    ),
    Row(
        "an identity with NaN",
        "{place}/case/identity.npy holds NaN or infinite numbers: make the identity embedding again.",
        write_array("case/identity.npy", np.full(512, np.nan, np.float32)),
    ),
    Row(
        "an identity beyond float32",
        "{place}/case/identity.npy holds NaN or infinite numbers: make the identity embedding again.",
        write_array("case/identity.npy", np.full(512, 1e300)),
    ),
    Row(
        "a missing noise",
        "{place}/noise.npz cannot be read (No such file or directory): "
        "--noise takes an .npz with noise_image and noise_latents.",
        flags=("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise lacking an array",
        "{place}/noise.npz has no array noise_image: --noise takes noise_image and noise_latents.",
        write_noise(noise_image=...),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise of another tile",
        "{place}/noise.npz: noise_latents must be floats of shape [1, 5, 4, 8, 8] for this engine set, "
        "found float32 [1, 4, 4, 8, 8]: make the file again at that shape.",
        write_noise(noise_latents=np.zeros((1, 4, 4, 8, 8), np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise of integers",
        "{place}/noise.npz: noise_image must be floats of shape [1, 3, 64, 64] for this engine set, "
        "found int32 [1, 3, 64, 64]: make the file again at that shape.",
        write_noise(noise_image=np.zeros((1, 3, 64, 64), np.int32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise with infinity",
        "{place}/noise.npz: noise_image holds NaN or infinite numbers: make the file again.",
        write_noise(noise_image=np.full((1, 3, 64, 64), np.inf, np.float32)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a noise beyond float32",
        "{place}/noise.npz: noise_image holds NaN or infinite numbers: make the file again.",
        write_noise(noise_image=np.full((1, 3, 64, 64), 1e300)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "an array for a noise",
        "{place}/noise.npy is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents.",
        write_array("noise.npy", np.zeros(3)),
        ("--noise", "{place}/noise.npy"),
    ),
    Row(
        "a text for a noise",
        "{place}/noise.npz is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents.",
        write("noise.npz", "random"),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a pickled noise",
        "{place}/noise.npz is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents.",
        lambda place: write_noise(noise_image=np.array(CreatesAFile(place / "ran"), object))(place),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "a truncated noise",
        "{place}/noise.npz is not a whole .npz of plain arrays: --noise takes one with noise_image and noise_latents.",
        all_of(write_noise(), cut("noise.npz", 100)),
        ("--noise", "{place}/noise.npz"),
    ),
    Row(
        "overlap of a whole tile",
        "--tile-overlap must be at least 1 and less than the tile size 5, not 5.",
        flags=("--tile-overlap", "5"),
    ),
]

OUT_ROWS = [
    *OUT_IN_THE_WAY,
    Row(
        "--out is no run's",
        "{place}/out is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
        write("out/notes.txt", "mine"),
    ),
    Row(
        "--out has another run.json",
        "{place}/out is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
        write("out/run.json", '{"project": "marathon"}'),
    ),
    Row(
        "--out has a run.json nested deep",
        "{place}/out is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
        write("out/run.json", "[" * 100_000),
    ),
    Row(
        "--out is the case",
        "{place}/case is not empty and holds no earlier run's run.json: give --out a new or empty folder.",
        flags=("--out", "{place}/case"),
    ),
]

# Refused before anything is read: there are no engines here, and no case.
FLAG_ROWS = [
    Row("no overlap", "--tile-overlap must be at least 1, not 0.", flags=("--tile-overlap", "0")),
    Row("no interval", "--cache-interval must be 1 to 1000, not 0.", flags=("--cache-interval", "0")),
    Row("no steps", "--steps must be 1 to 1000, not 0.", flags=("--steps", "0")),
    Row("a million steps", "--steps must be 1 to 1000, not 1000000.", flags=("--steps", "1000000")),
    Row("negative guidance", "--guidance must be 0 to 100, not -1.0.", flags=("--guidance", "-1")),
    Row("guidance not a number", "--guidance must be 0 to 100, not nan.", flags=("--guidance", "nan")),
    Row(
        "infinite guidance at the start",
        "--guidance-start must be 0 to 100, not inf.",
        flags=("--guidance-start", "inf"),
    ),
    Row("negative noise", "--noise-aug must be 0 to 10, not -0.1.", flags=("--noise-aug", "-0.1")),
    Row("negative seed", "--seed must be 0 to 4294967295, not -1.", flags=("--seed", "-1")),
    Row("a seed of 33 bits", "--seed must be 0 to 4294967295, not 4294967296.", flags=("--seed", "4294967296")),
    Row("no frames per second", "--fps must be 0.1 to 240, not 0.0.", flags=("--fps", "0")),
    Row("fps not a number", "--fps must be 0.1 to 240, not nan.", flags=("--fps", "nan")),
    Row("no threads", "--threads must be 1 to 1024, not 0.", flags=("--threads", "0")),
]


@each([*CASE_ROWS, *OUT_ROWS])
def test_a_bad_case_or_output(row, engines, case_folder, place, capsys):
    (place / "engines").symlink_to(engines(CASE, "onnxruntime"))
    copied(place, case=case_folder(CASE))
    check("sa-run", row, run_arguments(place), place, 2, capsys)


@each(FLAG_ROWS)
def test_a_bad_flag(row, tmp_path, capsys):
    check("sa-run", row, run_arguments(tmp_path), tmp_path, 2, capsys)
