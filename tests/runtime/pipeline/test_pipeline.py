"""The pipeline between calls: warm engines, events, cancelling, other threads."""

import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from sa.runtime import CancelToken, Case, Pipeline, RefineSettings
from sa.runtime.cli import main
from sa.runtime.engine_set.warm import WarmEngines
from sa.runtime.errors import CancelledError, EngineSetError, InputError
from sa.runtime.events import (
    FrameDecoded,
    PoseEncoded,
    RefinementIteration,
    StageEnded,
    StageStarted,
    StepDone,
    TileDone,
    Warned,
)
from sa.runtime.pipeline.settings import Settings

STEPS = 3
REFINE = RefineSettings(start=0, end=1, iterations=2)


@pytest.fixture(scope="module", params=["onnxruntime", "paddle"])
def pipeline(request, engines):
    with Pipeline.open(engines("recipe_hjb", request.param, "--refine"), threads=1, keep=True) as opened:
        yield opened


@pytest.fixture
def case(case_folder) -> Case:
    return Case.read(case_folder("recipe_hjb"))


def frames(result) -> np.ndarray:
    return np.stack(list(result.frames))


@pytest.mark.parametrize("refine", [None, REFINE])
def test_frames_are_those_of_sa_run(refine, pipeline, case, tmp_path):
    words = ["--engines", pipeline.engines.folder, "--case", case.name, "--out", tmp_path / "out", "--steps", STEPS]
    words += ["--threads", 1, "--quiet"]
    words += ["--refine", "--refine-end", REFINE.end, "--refine-iters", REFINE.iterations] if refine else []
    assert main([*map(str, words)]) == 0
    written = [np.asarray(Image.open(tmp_path / "out" / "frames" / f"frame_{i}.png")) for i in range(case.frames)]
    for _ in range(2):  # warm engines remember nothing of a run
        np.testing.assert_array_equal(frames(pipeline(case, steps=STEPS, refine=refine)), written)


def test_the_second_call_loads_nothing(pipeline, case):
    frames(pipeline(case, steps=1, refine=REFINE))
    loads = pipeline.loads
    frames(pipeline(case, steps=2, refine=REFINE))
    other = Case.of(case.reference.rotate(90), list(reversed(case.poses)), identity=case.identity)
    frames(pipeline(other, steps=1))
    assert pipeline.loads == loads > 0


def test_engines_are_kept_if_memory_holds_them(engines, monkeypatch):
    opened = Pipeline.open(engines("recipe_hjb", "onnxruntime")).engines
    for free, kept in ((1 << 40, True), (1 << 20, False)):
        monkeypatch.setattr("sa.runtime.engine_set.warm.available_memory", lambda free=free: free)
        assert WarmEngines(opened)._keep == kept
    opened.low_memory = True
    monkeypatch.setattr("sa.runtime.engine_set.warm.available_memory", lambda: 1 << 40)
    assert not WarmEngines(opened)._keep


def test_without_keeping_every_call_loads(engines, case):
    with Pipeline.open(engines("recipe_hjb", "onnxruntime"), keep=False) as opened:
        frames(opened(case, steps=1))
        first = opened.loads
        frames(opened(case, steps=1))
        assert opened.loads == 2 * first


def test_a_case_of_arrays_and_images_is_the_same_case(pipeline, case):
    expected = frames(pipeline(case, steps=2, refine=REFINE))
    given = Case.of(
        np.asarray(case.reference),
        [Image.open(pose) for pose in case.poses],
        identity=np.load(case.identity),
        reference_mask=np.asarray(Image.open(case.reference_mask)),
        faces=[np.asarray(Image.open(mask)) for mask in case.face_masks()],
    )
    np.testing.assert_array_equal(frames(pipeline(given, steps=2, refine=REFINE)), expected)


def test_a_run_tells_what_it_does(pipeline, case):
    told = []
    result = pipeline(case, steps=STEPS, refine=REFINE, on_event=told.append)
    frames(result)
    kinds = [type(event) for event in told]
    assert kinds.count(PoseEncoded) == kinds.count(FrameDecoded) == case.frames
    assert [(event.step, event.steps) for event in told if isinstance(event, StepDone)] == [(1, 3), (2, 3), (3, 3)]
    tiles = [event for event in told if isinstance(event, TileDone)]
    assert [event.step for event in tiles] == [1, 2, 3] and tiles[-1].seconds_left == 0
    gradients = [event for event in told if isinstance(event, RefinementIteration)]
    assert [(event.step, event.iteration) for event in gradients] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    losses = [loss for step in result.report["refine"] for loss in step["losses"]]
    assert [event.loss for event in gradients] == losses
    started = [event.stage for event in told if isinstance(event, StageStarted)]
    ended = {event.stage: event.seconds for event in told if isinstance(event, StageEnded)}
    assert set(started) == set(ended) and {"conditioning", "denoising", "decoding"} <= set(started)
    for stage, seconds in ended.items():
        assert result.report["seconds"][stage] == pytest.approx(seconds, abs=1e-2)
    assert [event.text for event in told if isinstance(event, Warned)] == result.report["warnings"]


def test_a_listener_that_fails_disturbs_nothing(pipeline, case, caplog):
    def fail(event):
        raise RuntimeError("a listener's own fault")

    assert len(frames(pipeline(case, steps=1, on_event=fail))) == case.frames
    assert "a listener's own fault" in caplog.text


@pytest.mark.parametrize(("kind", "calls"), [(TileDone, 4), (RefinementIteration, 2), (FrameDecoded, 1)])
def test_a_run_ends_within_one_call_of_an_engine(kind, calls, pipeline, case):
    """Cancelled from another thread while it is at work; afterwards the pipeline works as before."""
    expected = frames(pipeline(case, steps=1))
    token, seen = CancelToken(), []

    def listen(event):
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == calls:
                other = threading.Thread(target=token.cancel)
                other.start()
                other.join()

    refine = REFINE if kind is RefinementIteration else None
    steps = 1 if kind is FrameDecoded else 50
    with pytest.raises(CancelledError):
        frames(pipeline(case, steps=steps, refine=refine, on_event=listen, cancel=token))
    # The frames of a chunk that was decoded already are still told of.
    assert len(seen) == (4 if kind is FrameDecoded else calls)
    np.testing.assert_array_equal(frames(pipeline(case, steps=1)), expected)


def test_a_cancelled_token_lets_nothing_begin(pipeline, case):
    token = CancelToken()
    token.cancel()
    told = []
    with pytest.raises(CancelledError):
        pipeline(case, steps=1, on_event=told.append, cancel=token)
    assert not any(isinstance(event, PoseEncoded | TileDone) for event in told)


def test_threads_take_turns(pipeline, case):
    expected = {seed: frames(pipeline(case, steps=1, seed=seed)) for seed in range(3)}
    found = {}

    def animate(seed):
        found[seed] = frames(pipeline(case, steps=1, seed=seed))

    threads = [threading.Thread(target=animate, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, value in expected.items():
        np.testing.assert_array_equal(found[seed], value)


def test_inputs_are_checked_before_anything_is_loaded(engines, case):
    with Pipeline.open(engines("recipe_hjb", "onnxruntime"), keep=True) as opened:
        for wrong in (
            lambda: opened(Case.of(case.reference, case.poses[:2], identity=case.identity)),
            lambda: opened(Case.of(case.reference, case.poses)),
            lambda: opened(Case.of(case.reference, case.poses, identity=np.full(512, np.nan))),
            lambda: opened(case, identity="nowhere.npy"),
        ):
            with pytest.raises(InputError):
                wrong()
        with pytest.raises(EngineSetError, match="was made without refinement engines"):
            opened(case, refine=REFINE)
        assert opened.loads == 0


def test_pictures_that_are_none_are_refused(case):
    for wrong in (np.zeros((8, 8, 3), np.float32), np.zeros(8, np.uint8)):
        with pytest.raises(InputError, match="a picture must be an array"):
            Case.of(wrong, case.poses)
    with pytest.raises(InputError, match="at least one pose"):
        Case.of(case.reference, [])


def test_the_case_may_say_its_rate(pipeline, case_folder, tmp_path):
    import shutil

    folder = shutil.copytree(case_folder("recipe_hjb"), tmp_path / "case")
    for text, rate in (('{"fps": 12.5}', 12.5), ('{"fps": null}', None), ('{"fps": 1e9}', None), ("[", None)):
        (folder / "case.json").write_text(text)
        assert Case.read(folder).fps == rate
    (folder / "case.json").write_text('{"fps": 12.5}')
    read = Case.read(folder)
    assert pipeline.prepare(read).fps == 12.5
    assert pipeline.prepare(read, Settings(fps=30.0)).fps == 30.0
    (folder / "case.json").unlink()
    assert pipeline.prepare(Case.read(folder)).fps == 8.0


def test_a_part_of_a_case(pipeline, case):
    part = case.part(0, 5)
    np.testing.assert_array_equal(frames(pipeline(part, steps=1)), frames(pipeline(case, steps=1)))
    for first, last in ((0, 6), (3, 3), (-1, 2)):
        with pytest.raises(InputError, match=r"--frames .* is no part of the case: it has frames 0 to 4"):
            case.part(first, last)


def test_masks_do_not_matter_without_refinement(pipeline, case, tmp_path):
    expected = frames(pipeline(case, steps=1))
    shutil.copytree(case.name, tmp_path / "case")
    masks = sorted((tmp_path / "case" / "faces").iterdir())
    for gone in ([masks[-1]], masks[:-1]):  # one is missing, then all
        for path in gone:
            path.unlink()
        broken = Case.read(tmp_path / "case")
        assert pipeline.prepare(broken, Settings(steps=1)).key["case"]  # what sa-run keeps its state by
        np.testing.assert_array_equal(frames(pipeline(broken, steps=1)), expected)
        np.testing.assert_array_equal(frames(pipeline(broken.part(0, 5), steps=1)), expected)


def test_a_part_has_its_own_masks(case, tmp_path):
    part = case.part(1, 4)
    assert part.face_masks() == case.face_masks()[1:4] and part.part(1, 2).face_masks() == case.face_masks()[2:3]
    shutil.copytree(case.name, tmp_path / "case")
    (tmp_path / "case" / "faces" / "frame_4.png").unlink()
    with pytest.raises(InputError, match="has no mask of number 4"):  # though the part has one for each
        Case.read(tmp_path / "case").part(1, 4).face_masks()
