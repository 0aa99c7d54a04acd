"""sa-prepare's advice on flags, photos, driving frames and networks, each followed."""

import errno
import os
from pathlib import Path

import av
import numpy as np
import onnx
from following import (
    BASE,
    NETWORKS,
    Advice,
    Cure,
    check,
    each_cure,
    earlier,
    frames,
    keypoints,
    networks,
    photo,
    without,
    worded,
)
from PIL import Image
from prepare_data import constant_network, face_detector, face_recogniser, person, picture_file, video_file
from spoiling import all_of, cut, remove, rename, write, write_image

from sa.runtime.prepare import preparation
from sa.runtime.prepare.cli import main
from sa.runtime.prepare.input import animated, driving, framing, upright

NOISE = [np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8) for number in range(20)]
TIMES = [number / 25 for number in range(20)]
VIDEO = {"--driving": "{place}/dance.mp4"}


def damaged_video(place: Path) -> None:
    """The middle packet's bytes are zeros."""
    video_file(place / "dance.mp4", NOISE, TIMES)
    with av.open(str(place / "dance.mp4")) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][10]
        at, size = packet.pos, packet.size
    content = bytearray((place / "dance.mp4").read_bytes())
    content[at : at + size] = bytes(size)
    (place / "dance.mp4").write_bytes(content)


def two_tracks(place: Path) -> None:
    """Both move; the second is the smaller one."""
    with av.open(str(place / "dance.mp4"), "w") as container:
        tracks = [container.add_stream("libx264", rate=5) for _ in range(2)]
        for stream, side in zip(tracks, (128, 64), strict=True):
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        for number in range(2):
            for stream in tracks:
                frame = av.VideoFrame.from_ndarray(NOISE[number][: stream.height, : stream.width].copy())
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in tracks:
            container.mux(stream.encode())


def second_track(place: Path) -> None:
    """The file cut to it."""
    with av.open(str(place / "dance.mp4")) as source, av.open(str(place / "cut.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[1])
        for packet in source.demux(video=1):
            if packet.size:
                packet.stream = stream
                target.mux(packet)


def no_frames(place: Path) -> None:
    """A video's beginning, and nothing after it."""
    video_file(place / "dance.mp4", NOISE[:2], TIMES[:2], {"movflags": "frag_keyframe+empty_moov"})
    content = (place / "dance.mp4").read_bytes()
    (place / "dance.mp4").write_bytes(content[: content.index(b"moof") - 4])


def broken_disk(path: str) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def good_video(place: Path) -> None:
    video_file(place / "dance.mp4", NOISE[:2], TIMES[:2])


def webp(place: Path) -> None:
    shown = [Image.fromarray(picture) for picture in NOISE[:2]]
    shown[0].save(place / "dance.webp", save_all=True, append_images=shown[1:], duration=200)


def animation(suffix: str) -> object:
    return lambda place: Image.new("L", (128, 128)).save(
        place / f"photo.{suffix}", save_all=True, append_images=[Image.new("L", (128, 128), 255)]
    )


def first_picture(name: str) -> object:
    """Saved as a PNG."""
    return lambda place: Image.open(place / name).convert("RGB").save(place / "first.png")


def not_finite(place: Path) -> None:
    networks(place)
    constant_network(
        place / "models/antelopev2/glintr100.onnx", [1, 3, 112, 112], [np.full((1, 512), np.nan, np.float32)]
    )


def full_memory(followed: object, *of: object) -> object:
    """As `make_motion`, on a machine that has memory for one frame."""
    if len(followed.keypoints) > 1:
        raise MemoryError
    return MOTION(followed, *of)


MOTION = preparation.make_motion

FLAGS = [
    Advice(
        "--reference is missing: a case needs --reference",
        (Cure(flags={"--reference": "{place}/photo.png"}),),
        flags={"--reference": None},
    ),
    Advice(
        "--out is missing: a case needs --reference, --out",
        (Cure(flags={"--out": "{place}/out"}),),
        flags={"--out": None},
    ),
    Advice(
        "--driving is missing: a case needs --reference, --out, and --driving or --poses-ready",
        (
            Cure(flags={"--driving": "{place}/frames"}),
            Cure(earlier("skeletons"), {"--poses-ready": "{place}/skeletons/poses", "--keypoints": None}),
        ),
        flags={"--driving": None},
    ),
    Advice(
        "--size must be WIDTHxHEIGHT",
        tuple(Cure(flags={"--size": size}) for size in ("64x128", "auto")),
        flags={"--size": "65x65"},
    ),
    Advice("--frames must be START:STOP:STEP", (Cure(flags={"--frames": "0:64:1"}),), flags={"--frames": "9:3"}),
    Advice(
        "--frames must be START:STOP:STEP",
        (Cure(flags={"--frames": "0s:8s", "--fps": "25"}),),
        flags={"--frames": "9:3s"},
    ),
    Advice(
        "--fps must be 0.1 to 240", (Cure(flags={"--fps": "0.1"}), Cure(flags={"--fps": "240"})), flags={"--fps": "0"}
    ),
    Advice(
        "--person must be largest, all, or a number from 0",
        tuple(Cure(flags={"--person": who}) for who in ("largest", "all", "0")),
        flags={"--person": "Anna"},
    ),
    Advice(
        "--reference-person must be largest, or a number from 0",
        tuple(Cure(flags={"--reference-person": who}) for who in ("largest", "0")),
        flags={"--reference-person": "Anna"},
    ),
    Advice(
        "--background must be a colour such as white or #30c040",
        tuple(Cure(flags={"--background": colour}) for colour in ("white", "#30c040")),
        flags={"--background": "sky"},
    ),
    Advice(
        "follows nobody: give one of them",
        (Cure(flags={"--compat": None}), Cure(flags={"--person": None})),
        flags={"--compat": "upstream", "--person": "0"},
    ),
    Advice(
        "which --compat upstream repeats: give one of them",
        (Cure(flags={"--compat": None}), Cure(flags={"--retarget": None})),
        flags={"--compat": "upstream", "--retarget": "limbs"},
    ),
    Advice(
        "leave out --identity none",
        (Cure(flags={"--identity": None}),),
        flags={"--compat": "upstream", "--identity": "none"},
    ),
    Advice(
        "needs onnxruntime-gpu in place of onnxruntime: install it, or take cpu",
        (Cure(flags={"--device": "cpu"}),),
        flags={"--device": "cuda"},
    ),
    Advice(
        "out of memory; take fewer frames with --frames, or give a smaller photo or video",
        (Cure(flags={"--frames": "0:1"}),),
        patch=(preparation, "make_motion", full_memory),
    ),
]

PHOTOS = [
    Advice(
        "pixels; give a smaller image",
        (Cure(photo),),
        write_image("photo.png", 200, 200),
        patch=(Image, "MAX_IMAGE_PIXELS", 128 * 128),
    ),
    Advice(
        "expected an image file, replace it",
        (Cure(flags={"--reference": "{place}/photo.png"}),),
        flags={"--reference": "{place}/absent.png"},
    ),
    Advice("not an image that can be read; expected a PNG", (Cure(photo),), write("photo.png", "hello")),
    Advice("expected a whole image, replace it", (Cure(photo),), cut("photo.png", 200)),
    Advice(
        "HEIC photo, which is not read; convert it to PNG or JPEG",
        (Cure(photo),),
        write("photo.png", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    ),
    Advice(
        "a GIF, which is not read; convert it to PNG or JPEG",
        (Cure(first_picture("photo.gif"), {"--reference": "{place}/first.png"}),),
        animation("gif"),
        {"--reference": "{place}/photo.gif"},
    ),
    Advice(
        "as animations do; expected a single one, save it as a PNG",
        (Cure(first_picture("photo.png"), {"--reference": "{place}/first.png"}),),
        animation("png"),
    ),
    Advice(
        "give a less narrow photo or another --size",
        (Cure(write_image("photo.png", 80, 300)), Cure(flags={"--size": "64x512"})),
        write_image("photo.png", 1, 300),
        {"--size": "512x64"},
    ),
    Advice(
        "give a smaller or less narrow photo",
        (Cure(photo), Cure(write_image("photo.png", 126, 100))),
        write_image("photo.png", 200, 128),
        {"--fit": "pad"},
        (framing, "MOST_PADDED", 128 * 128),
    ),
    Advice(
        "keep the whole photo with --fit pad, or choose a --size nearer to its shape, as --size auto does",
        tuple(
            Cure(flags=flags)
            for flags in ({"--fit": "pad"}, {"--size": "64x128"}, {"--size": "auto", "--frames": "0:1"})
        ),
        all_of(write_image("photo.png", 128, 256), keypoints(reference=person(0.4, -35)[None])),
    ),
    Advice("pixels: give a photo of higher resolution", (Cure(photo),), write_image("photo.png", 31, 31)),
]

DRIVING = [
    Advice("holds no frame: give --driving a video that plays", (Cure(good_video),), no_frames, VIDEO),
    Advice(
        "cannot be read (Input/output error): give --driving a video",
        (Cure(flags={"--driving": "{place}/frames"}),),
        good_video,
        VIDEO,
        (driving, "open_container", broken_disk),
    ),
    Advice(
        "does not exist: give --driving a video or a folder of frames",
        (Cure(good_video), Cure(flags={"--driving": "{place}/frames"})),
        flags=VIDEO,
    ),
    Advice(
        "holds no image: give --driving a folder of frames",
        (Cure(flags={"--driving": "{place}/frames"}),),
        lambda place: (place / "none").mkdir(),
        {"--driving": "{place}/none"},
    ),
    Advice(
        "is not a video that can be read: give --driving a video",
        (Cure(good_video),),
        write("dance.mp4", "hello"),
        VIDEO,
    ),
    Advice(
        "is a GIF, which is not read: convert it to PNG or JPEG, or remove it from the frames",
        (Cure(rename("frames/f2.gif", "f2.gif")),),
        lambda place: Image.new("L", (128, 128)).save(place / "frames" / "f2.gif"),
    ),
    Advice(
        "is a GIF, which is not read: convert it to PNG or JPEG",
        (Cure(all_of(first_picture("frames/f1.gif"), remove("frames/f1.gif"), rename("first.png", "frames/f1.png"))),),
        lambda place: (
            (place / "frames" / "f1.png").unlink() or Image.new("L", (128, 128)).save(place / "frames" / "f1.gif")
        ),
    ),
    Advice("give driving frames of one size", (Cure(frames),), write_image("frames/f1.png", 130, 128)),
    Advice("frames of {place}/frames: give others.", (Cure(flags={"--frames": "1:"}),), flags={"--frames": "5:"}),
    Advice(
        "selects none of the 2 frames of {place}/dance.mp4: give others.",
        (Cure(flags={"--frames": "1:2"}),),
        good_video,
        VIDEO | {"--frames": "7:9"},
    ),
    Advice(
        "has no times: give the frames' rate with --fps, or count frames",
        (Cure(flags={"--fps": "1"}), Cure(flags={"--frames": "0:1"})),
        flags={"--frames": "0s:1s"},
    ),
    Advice(
        "is damaged after 8 frames: give a whole file, or --frames 0:8",
        (Cure(flags={"--frames": "0:8"}), Cure(lambda place: video_file(place / "dance.mp4", NOISE, TIMES))),
        all_of(damaged_video, keypoints([person(0.25)] * 20)),
        VIDEO,
    ),
    Advice(
        "is damaged after 0 frames: give a whole file",
        (Cure(webp),),
        all_of(webp, cut("dance.webp", 4000)),
        {"--driving": "{place}/dance.webp"},
    ),
    Advice(
        "is taken; cut the file if another is meant",
        (Cure(second_track, {"--driving": "{place}/cut.mp4"}),),
        two_tracks,
        VIDEO,
    ),
    Advice(
        "pixels: give a smaller video",
        (Cure(frames, {"--driving": "{place}/frames"}),),
        good_video,
        VIDEO,
        (upright, "MOST_PIXELS", 100),
    ),
    Advice(
        "pixels: give a smaller one",
        (Cure(frames, {"--driving": "{place}/frames"}),),
        webp,
        {"--driving": "{place}/dance.webp"},
        (animated, "MOST_PIXELS", 100),
    ),
]

MODELS = [
    Advice(
        "give --models the folder with the networks' ONNX files",
        (Cure(networks, {"--models": "{place}/models"}),),
        flags={"--models": "{place}/absent"},
    ),
    Advice(
        "poses come from networks or from files: give --models DIR, or --keypoints and --reference-keypoints",
        (
            Cure(networks, {"--models": "{place}/models"}),
            Cure(
                all_of(keypoints(), lambda place: np.savez(place / "standing.npz", reference=person(0.25)[None])),
                {"--keypoints": "{place}/poses.npz", "--reference-keypoints": "{place}/standing.npz"},
            ),
        ),
        flags={"--keypoints": None},
    ),
    Advice(
        "has no poses of the reference: give --reference-keypoints, or --models DIR",
        (
            Cure(
                lambda place: np.savez(place / "standing.npz", reference=person(0.25)[None]),
                {"--reference-keypoints": "{place}/standing.npz"},
            ),
            Cure(networks, {"--models": "{place}/models"}),
        ),
        lambda place: np.savez(place / "poses.npz", driving=np.stack([person(0.25)] * 2)[:, None]),
    ),
    *(
        Advice(f"holds no {what}: expected {name.split('/')[1]}", (Cure(networks),), without(name), NETWORKS)
        for what, name in (("person detector", "DWPose/yolox_l.onnx"), ("pose network", "DWPose/dw-ll_ucoco_384.onnx"))
    ),
    Advice(
        "holds no face recogniser: expected glintr100.onnx",
        (Cure(networks), Cure(flags={"--identity": "none"})),
        without("antelopev2/glintr100.onnx"),
        NETWORKS,
    ),
    Advice(
        "model pack antelopev2.",
        (Cure(networks),),
        without("antelopev2/glintr100.onnx"),
        NETWORKS | {"--compat": "upstream"},
    ),
    Advice(
        "model pack antelopev2.",
        (Cure(networks),),
        without("antelopev2/scrfd_10g_bnkps.onnx"),
        NETWORKS | {"--compat": "upstream"},
    ),
    Advice(
        "cannot be loaded as an ONNX file",
        (Cure(networks),),
        all_of(networks, write("models/DWPose/yolox_l.onnx", "hello")),
        NETWORKS,
    ),
    Advice(
        "is no face recogniser: expected ArcFace",
        (Cure(networks),),
        all_of(
            networks,
            lambda place: face_detector(place / "models", None).replace(place / "models/antelopev2/glintr100.onnx"),
        ),
        NETWORKS,
    ),
    Advice("finite numbers: use an ArcFace of 512 features", (Cure(networks),), not_finite, NETWORKS),
    Advice(
        "antelopev2/a.onnx, antelopev2/b.onnx; keep one of them",
        (Cure(remove("models/antelopev2/b.onnx")),),
        all_of(
            without("antelopev2/glintr100.onnx"),
            lambda place: face_recogniser(place / "models", "a.onnx"),
            lambda place: face_recogniser(place / "models", "b.onnx"),
        ),
        NETWORKS,
    ),
    Advice(
        "is a link to a file that is not there: put the file in its place, or remove it",
        (Cure(lambda place: (place / "store.onnx").write_bytes(b"")), Cure(remove("models/far.onnx"))),
        all_of(networks, lambda place: (place / "models/far.onnx").symlink_to(place / "store.onnx")),
        NETWORKS,
    ),
]


def other_recogniser(place: Path) -> None:
    """The same network in other bytes."""
    file = place / "models/antelopev2/glintr100.onnx"
    file.write_bytes(file.read_bytes() + onnx.ModelProto(doc_string="another").SerializeToString())


BOTH = NETWORKS | {"--reference": ("{place}/photo.png", "{place}/second.png"), "--frames": "0:1"}


def two_cases(place: Path) -> None:
    networks(place)
    picture_file(place / "second.png", 300, 400, seed=5)
    words = [word for flag, value in (BASE | BOTH).items() for word in worded(flag, value, place)]
    assert main([*words, "--quiet"]) == 0


SEVERAL = [
    Advice(
        "is a case that was made with other --models: give --overwrite to make all anew, or another --out",
        (Cure(flags={"--overwrite": ""}), Cure(flags={"--out": "{place}/new"})),
        all_of(two_cases, other_recogniser),
        BOTH,
    ),
    Advice(
        "several --reference take their own poses from --models: give it, and no keypoints but an earlier case",
        (
            Cure(networks, NETWORKS),
            Cure(all_of(networks, earlier("first")), {"--keypoints": "{place}/first", "--models": "{place}/models"}),
        ),
        lambda place: picture_file(place / "second.png", 128, 128, seed=5),
        {"--reference": ("{place}/photo.png", "{place}/second.png")},
    ),
    Advice(
        "give --reference photos of different names, or one at a time",
        (
            Cure(
                rename("other/photo.png", "other/second.png"),
                {"--reference": ("{place}/photo.png", "{place}/other/second.png")},
            ),
            Cure(flags={"--reference": "{place}/other/photo.png"}),
        ),
        all_of(networks, lambda place: picture_file(place / "other/photo.png", 300, 400)),
        NETWORKS | {"--reference": ("{place}/photo.png", "{place}/other/photo.png")},
    ),
]

ROWS = [*FLAGS, *PHOTOS, *DRIVING, *MODELS, *SEVERAL]


@each_cure(ROWS)
def test_advice_is_followed(advice, cure, place, monkeypatch, capsys):
    check(advice, cure, place, monkeypatch, capsys)


def test_the_second_track_is_the_one_that_was_cut_out(place):
    two_tracks(place)
    second_track(place)
    with av.open(str(place / "cut.mp4")) as container:
        assert [(stream.width, stream.height) for stream in container.streams.video] == [(64, 64)]


def test_another_folder_of_models_is_checked(place, capsys):
    assert main(["--check-models", f"{place}/absent"]) == 2
    assert "is not a folder: give --check-models the folder with the networks' ONNX files" in capsys.readouterr().err
    networks(place)
    assert main(["--check-models", f"{place}/models", "--quiet"]) == 0
