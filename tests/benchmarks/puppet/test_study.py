"""The study's page and figure, from figures that are known."""

from types import SimpleNamespace

import pytest
from PIL import Image

from sa.benchmarks.puppet import GUIDANCE, STEPS, study
from sa.benchmarks.puppet.quality import VideoQuality
from sa.runtime.pipeline.settings import Settings


def video(value: float) -> VideoQuality:
    return VideoQuality(**{name: value for name in VideoQuality.__dataclass_fields__} | {"seam": float("nan")})


def test_a_table_has_a_row_for_every_setting_and_leaves_out_what_is_not_known():
    settings = study.STUDY["Guidance"].settings
    table = study._section("Guidance", {setting.name: [video(1.0), video(3.0)] for setting in settings})
    rows = [line for line in table.splitlines() if line.startswith("| guidance")]
    assert [row.split("|")[1].strip() for row in rows] == [f"guidance {g}" for g in (1, 2, 3, 5)]
    assert all(row.split("|")[2].strip() == "2.00 [1.00, 3.00]" for row in rows)
    assert all(row.split("|")[-2].strip() == "" for row in rows)  # no seam in a single tile
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {len(study.COLUMNS) + 2}


def test_settings_are_compared_puppet_by_puppet():
    values = {"guidance 1": (1.0, 30.0), "guidance 2": (1.5, 30.7)}
    table = study._minus_first({name: [video(value) for value in both] for name, both in values.items()})
    title, _, *rows = table.splitlines()
    assert title.startswith("| minus guidance 1, puppet by puppet | PSNR, dB |")
    assert [row.split("|")[1:3] for row in rows] == [[" guidance 2 ", " 0.60 [0.50, 0.70] "]]
    assert rows[0].split("|")[-2].strip() == ""  # no seam in a single tile


def test_a_perfect_animator_is_compared_as_the_truth_and_as_the_vae_gives_it(tmp_path, monkeypatch):
    judging = pytest.importorskip("sa.benchmarks.puppet.judging")
    for frame in range(study.FRAMES):
        path = tmp_path / study.TRUTH / f"frame_{frame}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (128, 128), (frame, 0, 0)).save(path)
    monkeypatch.setattr(judging, "reconstructed", lambda frames: frames + 100)
    monkeypatch.setattr(study, "compare", lambda videos: [video(float(one.frames[-1].max())) for one in videos])
    lines = [line for line in study._ideal([tmp_path]).splitlines() if line.startswith("| the true")]
    themselves, made = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert themselves[:3] == ["the true frames", "", "7.000 [7.000, 7.000]"]
    assert made[:3] == ["the true frames, encoded and decoded", "107.00 [107.00, 107.00]", "107.000 [107.000, 107.000]"]


def test_the_figure_shows_reference_then_pose_result_and_truth(tmp_path):
    colours = {"reference.png": "red", "poses": "black", "frames": "blue", "truth": "green"}
    for name, colour in colours.items():
        paths = [tmp_path / name] if name.endswith("png") else [tmp_path / name / f"frame_{i}.png" for i in range(8)]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (128, 128), colour).save(path)
    shown = study.figure([tmp_path], [tmp_path], frames=(1, 4))
    centres = [shown.getpixel((2 + 64 + 130 * column, 66)) for column in range(7)]
    red, black, blue, green = (255, 0, 0), (0, 0, 0), (0, 0, 255), (0, 128, 0)
    assert centres == [red, black, blue, green, black, blue, green]


@pytest.fixture
def animated(tmp_path, monkeypatch):
    """A work folder with a case and engine sets, and what was asked of `animate`: the set, the kind, the settings."""
    (tmp_path / "case-0-8").mkdir()
    (tmp_path / "case-0-8" / "identity.npy").touch()
    for name in study.ENGINES:
        (tmp_path / f"engines-{name}").mkdir()
    for kind in ("EngineSet", "RoundedSet"):
        monkeypatch.setattr(getattr(study, kind), "open", lambda folder, kind=kind: (kind, folder.name))
    monkeypatch.setattr(study, "Pipeline", lambda engines, keep: SimpleNamespace(engines=engines, close=lambda: None))
    monkeypatch.setattr(study.Case, "read", lambda folder: folder)
    asked = []
    monkeypatch.setattr(study, "animate", lambda pipeline, case, out, settings: asked.append((pipeline, settings)))
    return tmp_path, asked


def test_what_a_setting_says_takes_the_place_of_the_usual_flags(animated):
    work, asked = animated
    settings = (study.Setting("plain"), study.Setting("few", {"--steps": "5"}), study._refined("two", 2))
    with study.Videos(work) as videos:
        assert len({videos.of(setting, 0) for setting in settings}) == 3
    plain, few, refined = (settings for _, settings in asked)
    assert plain == Settings(steps=STEPS, guidance=GUIDANCE) and few == Settings(steps=5, guidance=GUIDANCE)
    assert (refined.steps, refined.refine.iterations, refined.refine.region) == (study.HJB_STEPS, 2, "frame")
    assert len({id(pipeline) for pipeline, _ in asked}) == 1  # opened once


def test_the_emulation_of_fp16_has_the_settings_of_the_other_rows(animated):
    work, asked = animated
    with study.Videos(work) as videos:
        for rounded in (False, True):
            videos.of(study.Setting("fp16", engines="fp16", rounded=rounded), 0)
    assert [pipeline.engines for pipeline, _ in asked] == [
        ("EngineSet", "engines-fp16"),
        ("RoundedSet", "engines-fp16"),
    ]
    assert {settings for _, settings in asked} == {Settings(steps=STEPS, guidance=GUIDANCE)}


def test_differences_are_those_of_the_worst_video_and_pixel(tmp_path):
    results = {}
    for name, levels in (("first", (100, 100)), ("second", (100, 103))):
        results[study.Setting(name)] = [tmp_path / name / str(video) for video in range(2)]
        for video, level in enumerate(levels):
            (tmp_path / name / str(video) / "frames").mkdir(parents=True)
            for frame in range(study.FRAMES):
                path = tmp_path / name / str(video) / "frames" / f"frame_{frame}.png"
                Image.new("RGB", (16, 16), (level,) * 3).save(path)
    assert study._differences(results).splitlines()[2:] == ["| second | 38.6 | 3 |"]


@pytest.mark.parametrize("computes", [True, False])
def test_bf16_is_left_out_where_the_cpu_does_not_compute_in_it(computes, monkeypatch, capsys):
    openvino = pytest.importorskip("sa.runtime.backends.openvino")
    monkeypatch.setattr(openvino, "computes_bf16", lambda: computes)
    settings = study.STUDY["Precision and backend"].settings
    left_out = {setting.name for setting in settings if not study._is_possible(setting)}
    assert left_out == (set() if computes else {"OpenVINO, bf16"})
    assert ("left out" in capsys.readouterr().out) is not computes
