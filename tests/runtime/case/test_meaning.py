"""A readable picture is not always what a case calls it."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sa.runtime.case.case import Case, open_pose
from sa.runtime.case.identity import find_identity
from sa.runtime.case.meaning import PoseCheck, mask_pixels
from sa.runtime.errors import InputError


def photo(size: int = 64) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def skeleton(mode: str = "RGB", ground: tuple = (0, 0, 0)) -> Image.Image:
    drawn = Image.new(mode, (64, 64), ground)
    ImageDraw.Draw(drawn).line((32, 4, 32, 60), (255, 0, 0) if mode == "RGB" else (255, 0, 0, 255), 3)
    return drawn


def disc(mode: str = "L", face: object = 255, ground: object = 0) -> Image.Image:
    drawn = Image.new(mode, (64, 64), ground)
    ImageDraw.Draw(drawn).ellipse((20, 10, 44, 40), face)
    return drawn


def said_of(*poses: Image.Image) -> list[str]:
    check = PoseCheck()
    for number, pose in enumerate(poses):
        check.add(open_pose(pose), f"pose {number}")
    return check.warnings()


def test_skeletons_on_black_pass():
    assert said_of(skeleton(), skeleton()) == []


def test_a_skeleton_on_nothing_is_on_black():
    assert np.array_equal(np.asarray(open_pose(skeleton("RGBA", (255, 255, 255, 0)))), np.asarray(skeleton()))


def test_pictures_and_black_images_are_told_and_refused_if_there_is_nothing_else():
    assert said_of(skeleton(), photo()) == [
        "1 of 2 poses are pictures, not skeletons drawn on black: pose 1; draw them, or leave them out."
    ]
    assert said_of(skeleton(), Image.new("RGB", (64, 64))) == [
        "1 of 2 poses are black and show nobody: pose 1; the model is free there."
    ]
    with pytest.raises(InputError, match="pose 0 and all other poses are pictures"):
        said_of(photo(), skeleton(ground=(255, 255, 255)))
    with pytest.raises(InputError, match="pose 0 and all other poses are black"):
        said_of(Image.new("RGB", (64, 64)))


@pytest.mark.parametrize(
    "mask",
    [
        disc(),
        disc("RGB", (255, 255, 255), (0, 0, 0)),
        disc("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        disc("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
        disc("LA", (255, 255), (0, 255)),
        disc("1", 1, 0),
    ],
    ids=["L", "RGB", "black with alpha", "white with alpha", "opaque alpha", "1"],
)
def test_a_mask_is_read_however_it_is_kept(mask):
    assert np.array_equal(mask_pixels(mask, "mask"), np.asarray(disc()))


def test_what_is_no_mask_is_refused():
    with pytest.raises(InputError, match=r"mask is a picture in shades, \d\d% of it neither black nor white"):
        mask_pixels(photo(), "mask")
    with pytest.raises(InputError, match="white along the picture's border, as an inverted mask is"):
        mask_pixels(disc("L", 0, 255), "mask")
    assert mask_pixels(Image.new("L", (8, 8), 255), "mask").all()  # no face was found, in published masks


def test_a_transparent_reference_is_put_on_white_and_told(tmp_path):
    hidden = Image.new("RGBA", (32, 32), (255, 0, 255, 0))
    hidden.paste((10, 20, 30, 255), (8, 8, 24, 24))
    (tmp_path / "poses").mkdir()
    skeleton().save(tmp_path / "poses" / "frame_0.png")
    for image in (hidden, hidden.quantize(8)):
        image.save(tmp_path / "reference.png")
        case = Case.read(tmp_path)
        assert case.reference.getpixel((0, 0)) == (255, 255, 255)
        assert np.abs(np.subtract(case.reference.getpixel((16, 16)), (10, 20, 30))).max() <= 4
        assert case.warnings == [
            f"{tmp_path}/reference.png is transparent in part: white is put behind it; fill it if that is not meant."
        ]
    hidden.convert("RGB").save(tmp_path / "reference.png")
    assert Case.read(tmp_path).warnings == []


@pytest.mark.parametrize(
    ("norm", "words"), [(0, "holds zeros"), (0.5, "a norm of 0.5"), (200, "a norm of 200"), (20, "")]
)
def test_an_identity_of_an_odd_norm_is_told(norm, words):
    warnings: list[str] = []
    case = Case.of(photo(), [skeleton()], identity=np.full(512, norm / 512**0.5))
    find_identity(None, case, 512, None, lambda *of: np.zeros(512), warnings)
    assert len(warnings) == bool(words) and words in "".join(warnings)
