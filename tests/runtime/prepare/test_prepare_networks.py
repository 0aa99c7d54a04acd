"""sa-prepare with networks: poses, faces and identities; and poses that an earlier case kept."""

import json
import shutil

import numpy as np
from command_lines import replaced
from PIL import Image
from prepare_data import (
    person,
    picture_file,
    recorded_keypoints,
    write_keypoints,
)
from prepared_cases import FILES, FRAMES, arguments, contents, not_glintr, pixels, prepared, with_networks

from sa.runtime.prepare.cli import main
from sa.runtime.prepare.estimate.estimator import PoseEstimator


def test_networks_make_everything(place):
    assert main(with_networks(place)) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert {path.name for path in (place / "case").iterdir()} == FILES | {"identity.npy"}
    identity = np.load(place / "case" / "identity.npy")
    assert identity.shape == (512,) and identity.dtype == np.float32 and identity.any()
    assert case["reference"]["face_from"] == "face detector" and len(case["sources"]["models"]) == 4
    np.testing.assert_allclose(case["alignment"]["scale"], 1, rtol=1e-9)
    assert case["warnings"] == [not_glintr(place)]
    mask = pixels(place / "case" / "reference_mask.png") == 255
    # the photo of 300x400 pixels was seen at 480x640, and its reference has 192x256
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert [columns[0], rows[0], columns[-1], rows[-1]] == [int(x * 0.4) for x in (290, 190, 350, 255)]


def test_without_a_detected_face_the_poses_points_serve(place):
    assert main(with_networks(place, face=False)) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert case["reference"]["face_from"] == "the pose's face points"
    assert case["warnings"] == [
        not_glintr(place),
        "the face detector found no face: reference_mask.png and identity.npy were made from the pose's face points "
        "instead.",
    ]
    assert np.load(place / "case" / "identity.npy").any()
    assert main([*with_networks(place, face=False), "--identity", "none", "--overwrite"]) == 0
    assert json.loads((place / "case" / "case.json").read_text())["warnings"] == [
        "the face detector found no face: reference_mask.png was made from the pose's face points instead.",
        "--identity none: no identity.npy was made, so the person's face will not be kept.",
    ]


def test_without_a_recogniser_there_is_no_identity_but_a_case(place):
    flags = [*with_networks(place), "--identity", "none"]
    (place / "models" / "antelopev2" / "glintr100.onnx").unlink()
    assert main(flags) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert not (place / "case" / "identity.npy").exists() and (place / "case" / "reference_mask.png").exists()
    assert case["warnings"] == ["--identity none: no identity.npy was made, so the person's face will not be kept."]
    assert case["parameters"]["identity"] == "none" and case["reference"]["face_from"] == "face detector"


def test_a_face_at_the_back_of_a_head_is_none(place, capsys):
    """The networks see a face there, and face points; the pose has neither nose nor eyes."""
    flags = [word for word in with_networks(place) if word != "--quiet"]
    back = recorded_keypoints("p1_full_512")[0][:1] * (300 / 512, 400 / 512, 1)
    back[..., 2] = 0.9
    back[..., :3, 2] = 0.1
    np.savez(place / "poses.npz", driving=np.stack([back, back]), reference=back)
    flags += ["--keypoints", f"{place}/poses.npz"]
    assert main(flags) == 2
    assert "shows the person from behind, as its pose has shoulders, but neither nose" in capsys.readouterr().err
    assert main([*flags, "--identity", "none"]) == 0  # as advised
    assert not {"identity.npy", "reference_mask.png"} & {path.name for path in (place / "case").iterdir()}


def test_upstreams_masks_identity_and_alignment(place):
    assert main([*with_networks(place), "--compat", "upstream"]) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert case["alignment"]["method"] == "published" and case["parameters"]["compat"] == "upstream"
    mask = pixels(place / "case" / "faces" / "frame_0.png")
    assert mask.shape == (400, 300)  # of the driving frame
    assert mask[int(220 / 1.6), int(320 / 1.6)] == 255 and not mask[:50].any()
    identity = np.load(place / "case" / "identity.npy")
    assert main([*with_networks(place), "--overwrite"]) == 0
    assert np.abs(identity - np.load(place / "case" / "identity.npy")).max() > 1e-3  # swapped channels
    assert main([*with_networks(place, face=False), "--compat", "upstream", "--overwrite"]) == 0
    case = json.loads((place / "case" / "case.json").read_text())
    assert not np.load(place / "case" / "identity.npy").any() and "identity.npy is zeros" in case["warnings"][1]
    assert pixels(place / "case" / "reference_mask.png").min() == 255
    assert pixels(place / "case" / "faces" / "frame_1.png").min() == 255 and case["frames_without_face"] == [0, 1]


def test_a_case_keeps_its_poses_and_another_takes_them(place):
    """For the same photo with its pose; for another photo, whose pose then must come from elsewhere."""
    driving = [person(0.2, 40 + 4 * i, 10) for i in range(FRAMES)]
    driving[3] = np.full((133, 3), np.nan)
    write_keypoints(place / "poses.npz", driving, person(0.25))
    prepared(place, "--frames", "1:6")
    first = contents(place / "case")
    with np.load(place / "case" / "keypoints.npz") as kept:
        assert kept["driving"].shape == (5, 1, 133, 3) and kept["frames"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_array_equal(kept["driving"][0, 0], driving[1])
        assert np.isnan(kept["driving"][2]).all()
        assert kept["size"].tolist() == [256, 128] and kept["reference_size"].tolist() == [128, 128]
    from_case = ["--quiet", "--frames", "1:6", "--keypoints", f"{place}/case", "--out", f"{place}/again"]
    again = [*replaced(arguments(place), from_case), *from_case]
    assert main(again) == 0
    assert contents(place / "again") == first
    picture_file(place / "other.png", 128, 128, seed=9)
    other = ["--reference", f"{place}/other.png", "--overwrite"]
    again = [*replaced(again, other), *other]
    assert main(again) == 2  # another photo, without its pose
    np.savez(place / "other.npz", reference=person(0.25)[None])
    assert main([*again, "--reference-keypoints", f"{place}/other.npz"]) == 0


def test_frames_that_the_kept_poses_lack_are_named(place, capsys):
    prepared(place, "--frames", "0:6:2")
    again = arguments(place, "--quiet", "--overwrite", "--keypoints", place / "case", "--out", place / "again")
    assert main([*again, "--frames", "2:5:2"]) == 0
    capsys.readouterr()
    assert main([*again, "--frames", "0:3"]) == 2
    assert "has no entry for frame 1, as it was made with other --frames" in capsys.readouterr().err


def test_several_photos_are_estimated_once(place, monkeypatch, capsys):
    """And a command that was interrupted goes on with the cases that are missing."""
    flags = with_networks(place)
    Image.open(place / "photo.png").save(place / "second.png", compress_level=1)  # other bytes
    flags += ["--reference", str(place / "second.png")]
    seen = []
    estimate = PoseEstimator.__call__
    monkeypatch.setattr(PoseEstimator, "__call__", lambda self, picture: seen.append(1) or estimate(self, picture))
    assert main(flags) == 0
    assert len(seen) == 2 + 2  # two photos, and two frames once
    first, second = (contents(place / "case" / name) for name in ("photo", "second"))
    assert first == second and len(first) == 2 + 2 + 3
    assert main(flags) == 0 and len(seen) == 4  # made already
    shutil.rmtree(place / "case" / "second")
    assert main(flags) == 0 and len(seen) == 5
    assert contents(place / "case" / "second") == second
    (place / "case").rename(place / "moved")
    moved = [*replaced(flags, ["--out"]), "--out", str(place / "moved")]
    assert main(moved) == 0 and len(seen) == 5  # made already, elsewhere
    (place / "moved").rename(place / "case")
    by_time = [*replaced(flags, ["--out"]), "--out", str(place / "timed"), "--fps", "10", "--frames", "0.1s:0.2s"]
    assert main(by_time) == 0 and (place / "timed" / "second").is_dir()
    assert main([*by_time, "--keypoints", str(place / "case" / "photo")]) == 2  # made of other poses
    assert "timed/photo is a case that was made with other --keypoints: give --overwrite" in capsys.readouterr().err
    (place / "more").mkdir()
    shutil.copy(place / "photo.png", place / "more" / "photo.png")
    assert main([*flags, "--reference", str(place / "more" / "photo.png")]) == 2
    assert "would both become" in capsys.readouterr().err


def test_cases_made_with_other_networks_or_flags_are_told(place, capsys):
    """Of several photos, what an earlier command made is kept only if this one would make the same."""
    flags = with_networks(place)
    Image.open(place / "photo.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "second.png")
    flags += ["--reference", str(place / "second.png"), "--frames", "0:1"]
    assert main(flags) == 0
    (place / "models").rename(place / "same")  # the same networks elsewhere
    same = [*replaced(flags, ["--models"]), "--models", str(place / "same")]
    made = (place / "case" / "second" / "case.json").stat().st_mtime_ns
    assert main(same) == 0 and (place / "case" / "second" / "case.json").stat().st_mtime_ns == made
    capsys.readouterr()
    for other in ("--identity", "none"), ("--anchor", "hips"):
        assert main([*same, *other]) == 2
        assert "case/photo is a case that was made with other flags" in capsys.readouterr().err
    for source, cause in (
        (place / "second.png", "case/second is a case that was made with another photo"),
        (min((place / "frames").iterdir()), "case/photo is a case that was made with another --driving"),
    ):
        kept = source.read_bytes()
        Image.new("RGB", (128, 128), "red").save(source)
        assert main(same) == 2 and cause in capsys.readouterr().err
        source.write_bytes(kept)
    (place / "same" / "antelopev2" / "scrfd_10g_bnkps.onnx").unlink()
    assert main(same) == 2
    assert "case/photo is a case that was made with other --models" in capsys.readouterr().err
    assert main([*same, "--overwrite"]) == 0 and main(same) == 0
    for photo in ("photo", "second"):
        case = json.loads((place / "case" / photo / "case.json").read_text())
        assert len(case["sources"]["models"]) == 3 and case["reference"]["face_from"] == "the pose's face points"
