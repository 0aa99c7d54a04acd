"""What sa-run advises on a case, as it reads one before any engine is opened: each advice is followed."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree

import numpy as np
import pytest
from following import FACE
from PIL import Image
from prepare_data import face_detector, face_recogniser, person
from spoiling import Spoil, all_of, copy, cut, remove, rename, write, write_array, write_image

from sa.export import cli as export_cli
from sa.runtime.case.audio import RATE, read_audio, write_audio
from sa.runtime.case.case import Case, check_case
from sa.runtime.case.identity import find_identity
from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError
from sa.runtime.prepare import cli as prepare_cli
from sa.runtime.prepare.draw.drawing import draw_pose
from sa.runtime.prepare.estimate.face_networks import reference_embedding
from sa.runtime.prepare.whole_body import to_pose
from sa.runtime.refinement.faces import case_targets

FRAMES = 3
COMMAND = "sa-export --checkpoint CHECKPOINT --out ENGINES --height 64 --width 64 --tile-size 3 --decode-chunk 2"
IDENTITY = np.random.default_rng(0).normal(0, 1, 512).astype(np.float32)


@dataclass(frozen=True)
class Flags:
    """What of sa-run's flags concerns a case."""

    identity: str | None = None
    models: bool = False
    refine: bool = True
    tile: int = FRAMES
    part: tuple[int, int] | None = None
    upstream: bool = False
    features: int = 512  # that the engine set takes of an identity


Given = Callable[[Path], None] | Flags


@dataclass(frozen=True)
class Row:
    said: str
    cures: tuple[Given, ...]  # of files, or other flags
    spoil: Spoil = lambda place: None
    flags: Flags = Flags()


def read(place: Path, flags: Flags) -> str:
    """As a run does; the error or the warnings. The case is whole if nothing is said."""
    shapes, warnings = Shapes(height=64, width=64, tile_size=flags.tile, decode_chunk=2), []
    try:
        case = Case.read(place / "case")
        if flags.part is not None:
            case = case.part(*flags.part)
        warnings += check_case(case, shapes, COMMAND)
        identity = flags.identity.format(place=place) if flags.identity else None
        models = place / "models" if flags.models else None

        def embed(picture: np.ndarray, folder: Path, said: list[str]) -> np.ndarray:
            return reference_embedding(picture, folder, False, said)

        find_identity(identity, case, flags.features, models, embed, warnings)
        if flags.refine:
            case_targets(case, shapes, flags.upstream, warnings)
        if case.audio is not None:
            assert sum(map(len, read_audio(case.audio, 0, 1)))
    except InputError as error:
        return f"error: {error}"
    return "\n".join(warnings)


@pytest.fixture
def place(tmp_path):
    """A case of three frames, and face networks."""
    case = tmp_path / "case"
    for folder in ("poses", "faces"):
        (case / folder).mkdir(parents=True)
    Image.new("RGB", (64, 64), (90, 120, 150)).save(case / "reference.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 24:40] = 255
    Image.fromarray(mask).save(case / "reference_mask.png")
    for number in range(FRAMES):
        Image.fromarray(mask).save(case / "faces" / f"frame_{number}.png")
        drawn = draw_pose(to_pose(person(0.125)[None], 64, 64), 64, 64)
        Image.fromarray(drawn).save(case / "poses" / f"frame_{number}.png")
    np.save(case / "identity.npy", IDENTITY)
    face_recogniser(tmp_path / "models")
    face_detector(tmp_path / "models", FACE)
    return tmp_path


def identity(value: np.ndarray | None = None) -> Spoil:
    return write_array("case/identity.npy", IDENTITY if value is None else value)


def picture(name: str, of: str = "RGB") -> Spoil:
    """Noise."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return lambda place: Image.fromarray(noise).convert(of).save(place / "case" / name)


def inverted(name: str) -> Spoil:
    def invert(place: Path) -> None:
        with Image.open(place / "case" / name) as mask:
            Image.fromarray(255 - np.asarray(mask)).save(place / "case" / name)

    return invert


def good_pose(number: int) -> Spoil:
    return copy("case/poses/frame_0.png", f"case/poses/frame_{number}.png")


def good_mask(name: str) -> Spoil:
    return copy("case/faces/frame_0.png", f"case/{name}")


def transparent(name: str) -> Spoil:
    return lambda place: Image.new("RGBA", (64, 64), (0, 200, 0, 100)).save(place / "case" / name)


def as_png(name: str, to: str) -> Spoil:
    def convert(place: Path) -> None:
        with Image.open(place / "case" / name) as image:
            image.convert("RGB").save(place / "case" / to)
        (place / "case" / name).unlink()

    return convert


def filled(name: str) -> Spoil:
    def fill(place: Path) -> None:
        with Image.open(place / "case" / name) as image:
            image.convert("RGB").save(place / "case" / name)

    return fill


def through_sa_prepare(place: Path) -> None:
    """The pictures among the poses are taken as driving frames."""
    np.savez(place / "k.npz", driving=np.stack([person(0.125)] * FRAMES)[:, None], reference=person(0.125)[None])
    files = {"--reference": "case/reference.png", "--driving": "case/poses", "--keypoints": "k.npz", "--out": "made"}
    words = [word for flag, name in files.items() for word in (flag, f"{place}/{name}")]
    assert prepare_cli.main([*words, "--size", "64x64", "--quiet"]) == 0
    copyfile(place / "case/identity.npy", place / "made/identity.npy")
    rmtree(place / "case")
    (place / "made").rename(place / "case")


def animated(place: Path) -> None:
    first = Image.new("RGB", (64, 64), "red")
    first.save(place / "case/reference.png", save_all=True, append_images=[Image.new("RGB", (64, 64))])


def first_of_animation(place: Path) -> None:
    with Image.open(place / "case/reference.png") as image:
        image.convert("RGB").save(place / "one.png")
    copyfile(place / "one.png", place / "case/reference.png")


def audio(place: Path) -> None:
    noise = np.random.default_rng(2).integers(-9999, 9999, (RATE, 2)).astype(np.int16)
    assert write_audio(place / "case/audio.flac", iter([noise]))


def damaged_audio(place: Path) -> None:
    audio(place)
    cut("case/audio.flac", (place / "case/audio.flac").stat().st_size // 2)(place)


REFERENCE = write_image("case/reference.png", 64, 64)
PLAIN = Flags(refine=False)
NO_IDENTITY = remove("case/identity.npy")

ROWS = [
    Row(
        "is not a folder: give --case a folder with reference.png and poses/",
        (rename("elsewhere", "case"),),
        rename("case", "elsewhere"),
    ),
    Row("found none: add one", (REFERENCE,), remove("case/reference.png")),
    Row(
        "found reference.jpg, reference.png: keep one of them",
        (remove("case/reference.jpg"),),
        write_image("case/reference.jpg", 64, 64),
    ),
    Row(
        "found reference.gif: this type is not read, convert it to PNG or JPEG",
        (as_png("reference.gif", "reference.png"),),
        all_of(write_image("case/reference.gif", 64, 64), remove("case/reference.png")),
    ),
    Row(
        "a reference needs at least 16 on each side; give a larger one",
        (REFERENCE,),
        write_image("case/reference.png", 15, 64),
        PLAIN,
    ),
    Row(
        "is transparent in part: white is put behind it; fill it if that is not meant",
        (filled("reference.png"),),
        transparent("reference.png"),
    ),
    Row("expected a single one, save it as a PNG", (first_of_animation,), animated),
    Row("expected a whole image, replace it", (REFERENCE,), cut("case/reference.png", 30)),
    Row(
        "crop it to that aspect if the result looks distorted",
        (all_of(REFERENCE, good_mask("reference_mask.png")),),
        all_of(write_image("case/reference.png", 96, 64), write_image("case/reference_mask.png", 96, 64)),
        PLAIN,
    ),
    # Poses
    Row(
        "a case needs a folder of pose images frame_0.png, frame_1.png, ...; add it.",
        (rename("case/drawn", "case/poses"),),
        rename("case/poses", "case/drawn"),
    ),
    Row(
        "a case needs pose images frame_0.png, frame_1.png, ...; add them.",
        (all_of(remove("case/poses"), rename("drawn", "case/poses")),),
        all_of(rename("case/poses", "drawn"), write("case/poses/notes.txt")),
    ),
    Row(
        "but the engine set needs at least its tile of 4 frames; add poses",
        (all_of(good_pose(3), good_mask("faces/frame_3.png")), Flags()),
        flags=Flags(tile=4),
    ),
    Row(
        "has no number in its name: expected pose images frame_0.png, frame_1.png, ..., rename or remove it",
        (
            all_of(rename("case/poses/frame.png", "case/poses/frame_3.png"), good_mask("faces/frame_3.png")),
            remove("case/poses/frame.png"),
        ),
        copy("case/poses/frame_0.png", "case/poses/frame.png"),
    ),
    Row(
        "which one is the frame's is unclear, rename them alike",
        (rename("case/poses/frame_1_64.png", "case/poses/frame_1.png"),),
        rename("case/poses/frame_1.png", "case/poses/frame_1_64.png"),
    ),
    Row(
        "carry the same number 1: keep one of them",
        (remove("case/poses/frame_01.png"), remove("case/poses/frame_1.png")),
        copy("case/poses/frame_0.png", "case/poses/frame_01.png"),
    ),
    Row(
        "is a GIF, which is not read: convert it to PNG or JPEG, or remove it from the frames",
        (
            all_of(as_png("poses/frame_3.gif", "poses/frame_3.png"), good_mask("faces/frame_3.png")),
            remove("case/poses/frame_3.gif"),
        ),
        write_image("case/poses/frame_3.gif", 64, 64),
    ),
    Row(
        "the others are animated one after another; add the missing ones if that is not meant",
        (all_of(good_pose(3), good_mask("faces/frame_3.png")),),
        all_of(good_pose(4), good_mask("faces/frame_4.png")),
    ),
    Row(
        "skeletons drawn on black: run sa-prepare on them, which draws the poses",
        (through_sa_prepare,),
        flags=PLAIN,
        spoil=all_of(*(picture(f"poses/frame_{number}.png") for number in range(FRAMES))),
    ),
    Row(
        "skeletons drawn on black: {place}/case/poses/frame_1.png; draw them, or leave them out",
        (good_pose(1),),
        picture("poses/frame_1.png"),
    ),
    Row(
        "are black: give poses that show a person",
        (all_of(rename("drawn.png", "case/poses/frame_0.png")),),
        all_of(
            rename("case/poses/frame_0.png", "drawn.png"),
            *(write_image(f"case/poses/frame_{number}.png", 64, 64) for number in range(FRAMES)),
        ),
    ),
    Row(
        "is no part of the case: it has frames 0 to 2; give FIRST:LAST with 0 <= FIRST < LAST <= 3",
        (Flags(part=(0, 3)),),
        flags=Flags(part=(1, 9)),
    ),
    # Identity
    Row(
        "has no identity.npy: give the face recogniser's embedding of the reference as --identity FILE.npy ([512]",
        (Flags(identity="{place}/face.npy"), identity(), Flags(models=True), Flags(identity="none")),
        all_of(NO_IDENTITY, write_array("face.npy", IDENTITY)),
    ),
    Row(
        "--identity takes a .npy file with 512 floats, or none",
        (Flags(), Flags(identity="none")),
        flags=Flags(identity="{place}/absent.npy"),
    ),
    Row(
        "expected 512 floats; make the identity embedding again",
        (identity(), Flags(identity="none")),
        write("case/identity.npy", "hello"),
    ),
    Row(
        "found float32 [7]: make the identity embedding again",
        (identity(), all_of(NO_IDENTITY)),
        identity(IDENTITY[:7]),
        Flags(models=True),
    ),
    Row("holds NaN or infinite numbers: make the identity embedding again", (identity(),), identity(IDENTITY * np.nan)),
    Row("not normed_embedding; make it again", (identity(),), identity(IDENTITY / np.linalg.norm(IDENTITY))),
    Row("make it with that recogniser, not normalised", (identity(),), identity(IDENTITY * 100)),
    Row(
        "no face that can be detected: give the identity embedding as --identity FILE.npy, or pass --identity none",
        (Flags(identity="{place}/face.npy"), Flags(identity="none")),
        all_of(NO_IDENTITY, write_array("face.npy", IDENTITY), lambda place: face_detector(place / "models", None)),
        Flags(models=True),
    ),
    Row(
        "gives 512 features, the engine set takes 256: give --identity FILE.npy.",
        (Flags(identity="{place}/face.npy", features=256),),
        all_of(NO_IDENTITY, write_array("face.npy", IDENTITY[:256])),
        Flags(models=True, features=256),
    ),
    # Audio
    Row(
        "holds no audio that can be read: give a file that does, or remove it",
        (audio, remove("case/audio.flac")),
        write("case/audio.flac", "hello"),
    ),
    Row("Invalid data found when processing input): give a whole file", (audio,), damaged_audio),
    # Masks
    Row(
        "--refine needs the face marked in the reference and in every frame; add the masks, or run without --refine",
        (good_mask("reference_mask.png"), PLAIN),
        remove("case/reference_mask.png"),
    ),
    Row(
        "the number of {place}/case/poses/frame_1.png: give every pose the mask of its number, or run without --refine",
        (good_mask("faces/frame_1.png"), PLAIN),
        remove("case/faces/frame_1.png"),
    ),
    Row(
        "has no pose of its number 3: give every pose the mask of its number, or run without --refine",
        (remove("case/faces/frame_3.png"), good_pose(3), PLAIN),
        good_mask("faces/frame_3.png"),
    ),
    Row(
        "expected a mask, white where the face is and black elsewhere",
        (good_mask("reference_mask.png"),),
        picture("reference_mask.png", "L"),
    ),
    Row(
        "as an inverted mask is: expected white where the face is and black elsewhere; invert it",
        (inverted("reference_mask.png"),),
        inverted("reference_mask.png"),
    ),
    Row(
        "make the mask at the reference's own size",
        (good_mask("reference_mask.png"),),
        write_image("case/reference_mask.png", 32, 32, "L"),
    ),
    Row(
        "face in white on black (128 or brighter); mark it, or run without --refine",
        (good_mask("reference_mask.png"), PLAIN),
        write_image("case/reference_mask.png", 64, 64, "L"),
    ),
    Row(
        "so the whole picture counts as the face: mark the face alone",
        (good_mask("reference_mask.png"),),
        lambda place: Image.new("L", (64, 64), 255).save(place / "case/reference_mask.png"),
    ),
    Row(
        "expected faces in white on black, part of the frame; mark them, or run without --refine",
        (
            all_of(*(copy("case/reference_mask.png", f"case/faces/frame_{number}.png") for number in range(FRAMES))),
            PLAIN,
        ),
        all_of(*(write_image(f"case/faces/frame_{number}.png", 64, 64, "L") for number in range(FRAMES))),
    ),
    Row(
        "on which the published code fails: run without --compat upstream",
        (Flags(),),
        write_image("case/faces/frame_1.png", 64, 64, "L"),
        Flags(upstream=True),
    ),
]


def pairs() -> list[tuple[Row, Given]]:
    return [(row, cure) for row in ROWS for cure in row.cures]


@pytest.mark.parametrize(
    ("row", "cure"), pairs(), ids=[f"{row.said[:50]}-{row.cures.index(cure)}" for row, cure in pairs()]
)
def test_advice_is_followed(row, cure, place):
    row.spoil(place)
    said, flags = row.said.format(place=place), row.flags
    assert said in read(place, flags)
    if isinstance(cure, Flags):
        flags = cure
    else:
        cure(place)
    found = read(place, flags)
    assert not found.startswith("error") and said not in found


def test_the_advised_export_is_of_a_tile_that_the_case_has(place):
    """Its words are sa-export's own flags, and such an engine set takes the case."""
    command = re.search("fits with `(sa-export .*)`", read(place, Flags(tile=4)))[1]
    arguments = export_cli.parser().parse_args(shlex.split(command)[1:])
    assert arguments.tile_size == FRAMES and read(place, Flags(tile=arguments.tile_size)) == ""


def test_masks_in_memory_are_one_per_pose():
    black = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="2 face masks for 1 poses: give one mask per pose"):
        Case.of(black, [black], faces=[black] * 2).face_masks()
    with pytest.raises(InputError, match="faces is missing: give one face mask per pose"):
        Case.of(black, [black]).face_masks()
    assert len(Case.of(black, [black], faces=[black]).face_masks()) == 1
