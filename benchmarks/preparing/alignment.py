"""sa-bench alignment: how well the two alignments find a driving person's scale, as tables for docs/prepare.md.

They are tried on recordings of the published code (tests/golden/prepare), and on synthetic people whose true scale is
known. The robust fit was tuned on the people of seeds 0 to 1199, so the tables use others.
"""

from pathlib import Path

import numpy as np

from sa.benchmarks.fixtures.synthetic_people import Actor, actor
from sa.runtime.errors import InputError
from sa.runtime.prepare.motion.alignment import published_fit, robust_fit

SEEDS = range(2000, 2200)
KNOWN = {  # recording: output's width and height, what it shows, and the true scale of x and y
    "alignA": ((512, 512), "at rest, 1.25 times as large", (1.25, 1.25)),
    "alignD_jump": ((512, 512), "jumps, as large as the reference", (1.0, 1.0)),
    "alignB": ((576, 1024), "moves; other aspect, hidden points, one misplaced", (1.04 * 1024 / 576, 1.04)),
}


def recording(arrays: dict[str, np.ndarray], name: str) -> tuple[Actor, np.ndarray]:
    """A recording as an Actor, from person 0 of every frame, and which frames show one person alone."""
    output, _, scale = KNOWN[name]
    frames = [i for i in range(len(arrays)) if f"{name}/drv{i}/candidate" in arrays]
    points = np.stack([arrays[f"{name}/drv{i}/candidate"][:18] for i in frames])
    scores = np.stack([arrays[f"{name}/drv{i}/score"][0] for i in frames])
    alone = np.array([len(arrays[f"{name}/drv{i}/score"]) == 1 for i in frames])
    reference, seen = arrays[f"{name}/ref/candidate"], arrays[f"{name}/ref/score"][0]
    return Actor(reference, seen, points, scores, (512, 512), output, np.array(scale)), alone


def scales(person: Actor, alone: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """The scales [2] of x and y that the published and the robust fit find."""
    (width, height), size = person.output, person.size
    published = published_fit(person.reference, person.reference_scores, person.points[alone], width, height)
    robust, _, _ = robust_fit(
        person.reference, person.reference_scores, person.points, person.scores, size[0] / size[1], width / height
    )
    return published.scale, robust.scale


def errors(seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors [people, 2] of the scales of x and y, by the published and by the robust fit."""
    people = [actor(seed) for seed in seeds]
    found = [scales(person) for person in people]
    published, robust = (
        np.array([np.abs(fit[which] / person.scale - 1) for fit, person in zip(found, people, strict=True)])
        for which in (0, 1)
    )
    return published, robust


def compare_alignments(recordings: Path) -> None:
    """Print both tables; InputError where the file of recordings is missing."""
    if not recordings.is_file():
        raise InputError(f"{recordings} is missing: run this in a checkout of the project, or give --recordings FILE.")
    with np.load(recordings) as archive:
        arrays = dict(archive)
    print("| recording | true scale, x and y | published | robust |\n| --- | --- | --- | --- |")
    for name, (_, shows, true) in KNOWN.items():
        cells = [f"{x:.3f}, {y:.3f}" for x, y in (true, *scales(*recording(arrays, name)))]
        print(f"| {name}: {shows} | {' | '.join(cells)} |")
    published, robust = errors(SEEDS)
    print(f"\n| {len(SEEDS)} synthetic people, error of the scale | published | robust |\n| --- | --- | --- |")
    for axis, letter in enumerate("xy"):
        for words, share in (("median", 0.5), ("95th percentile", 0.95), ("largest", 1)):
            cells = [f"{np.quantile(off[:, axis], share):.1%}" for off in (published, robust)]
            print(f"| {letter}, {words} | {' | '.join(cells)} |")
