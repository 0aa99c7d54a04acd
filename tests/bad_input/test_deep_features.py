"""What sa-run --cache-interval says of an engine set that it cannot use; nothing is added or changed."""

import json
from pathlib import Path

import pytest
from command_lines import CASE, copied, fails, run_arguments
from spoiling import Row, check, each, edit_json, without_engine

UNSOUND = "{place}/engines/manifest.json is not a sound manifest: "
REBUILD = "; rebuild the engine set with sa-export."


def without_the_deep_output(place: Path) -> None:
    engines = json.loads((place / "engines/manifest.json").read_text())["engines"]
    for engine in engines:
        engine["outputs"] = [spec for spec in engine["outputs"] if spec["name"] != "deep"]
    edit_json("engines/manifest.json", engines=engines)(place)


ROWS = [
    Row(
        "a shallow UNet that is not listed",
        f"{UNSOUND}the engine unet_shallow and cache_depth come together or not at all{REBUILD}",
        without_engine("unet_shallow"),
    ),
    Row(
        "a shallow UNet of no depth",
        f"{UNSOUND}the engine unet_shallow and cache_depth come together or not at all{REBUILD}",
        edit_json("engines/manifest.json", cache_depth=None),
    ),
    Row(
        "a UNet that gives no deep feature",
        f"{UNSOUND}the engine unet_shallow takes no tensor deep as the engine unet gives it{REBUILD}",
        without_the_deep_output,
    ),
]


@each(ROWS)
def test_a_manifest_that_is_not_sound(row, engines, case_folder, place, capsys):
    copied(place, engines=engines(CASE, "onnxruntime", "--refine", "--refine-plan", "whole", "--cache-depth", "1"))
    (place / "case").symlink_to(case_folder(CASE))
    check("sa-run", row, [*run_arguments(place), "--cache-interval", "2"], place, 3, capsys)


@pytest.mark.parametrize("plain", [(), ("--plain",)], ids=["specialized", "plain"])
def test_engines_made_without_a_shallow_unet(engines, case_folder, tmp_path, capsys, plain):
    (tmp_path / "engines").symlink_to(engines(CASE, "onnxruntime", *plain))
    (tmp_path / "case").symlink_to(case_folder(CASE))
    message = (
        f"{tmp_path}/engines was made without a shallow UNet, which --cache-interval takes: "
        "rebuild it with `sa-export --cache-depth 3 --checkpoint CHECKPOINT --out ENGINES --backend onnxruntime "
        "--precision fp32 --height 64 --width 64 --tile-size 5 --decode-chunk 4`, or give --cache-interval 1."
    )
    fails("sa-run", [*run_arguments(tmp_path), "--cache-interval", "2"], tmp_path, 3, message, capsys)
