"""sa-prepare: from a photo and a driving video to a case."""

import argparse
from dataclasses import replace

from sa.runtime.case.images import load_image
from sa.runtime.console.commands import run_command
from sa.runtime.console.device import chosen_device
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import import_failed
from sa.runtime.prepare.command.arguments import options_from, parser
from sa.runtime.prepare.command.checks import require_files, require_own_poses, require_published, require_ready
from sa.runtime.prepare.command.summary import summarise
from sa.runtime.prepare.input.framing import nearest_size, size_from
from sa.runtime.prepare.input.timeline import selection_from
from sa.runtime.prepare.options import ALL, colour_from, number_from
from sa.runtime.prepare.settings import Settings, with_options


def run(arguments: argparse.Namespace) -> None:
    a = arguments
    if a.check_models is not None:
        return _check_models(a)
    require_files(a)
    size, frames, options = None if a.size == "auto" else size_from(a.size), selection_from(a.frames), options_from(a)
    require_published(a)
    try:
        from sa.runtime.prepare.input.keypoints.kept import is_case
        from sa.runtime.prepare.preparation import prepare_case
        from sa.runtime.prepare.ready import ReadySettings, prepare_ready
        from sa.runtime.prepare.several import prepare_cases
    except ImportError as error:
        raise import_failed("sa-prepare", error, "prepare") from None
    device, reporter = chosen_device(a) or "cpu", Reporter(a.quiet)
    if a.poses_ready is not None:
        require_ready(a)
        ground = colour_from(options.background)
        ready = ReadySettings(a.reference[0], a.poses_ready, a.models, a.identity is None, ground, device)
        report = prepare_ready(ready, a.out, a.overwrite, reporter)
        reporter.say(f"{report['frames']} frames in {a.out}")
        return
    common = Settings(
        reference=a.reference[0],
        driving=a.driving,
        frames=frames,
        person=number_from(options.person),
        everybody=options.person == ALL or a.compat == "upstream",
        models=a.models,
        keypoints=a.keypoints,
        reference_keypoints=a.reference_keypoints,
        device=device,
        upstream=a.compat == "upstream",
        identity=a.identity is None,
    )
    common = with_options(common, options)
    cases = [
        replace(common, reference=photo, size=size or nearest_size(load_image(photo).size)) for photo in a.reference
    ]
    if len(cases) == 1:
        summarise(prepare_case(cases[0], a.out, a.overwrite, reporter), a.out, reporter)
        return
    require_own_poses(a, a.keypoints is not None and is_case(a.keypoints))
    for folder, report in prepare_cases(cases, a.out, a.overwrite, reporter):
        summarise(report, folder, reporter)


def _check_models(a: argparse.Namespace) -> None:
    try:
        from sa.runtime.prepare.estimate.check import check_models
    except ImportError as error:
        raise import_failed("sa-prepare", error, "prepare") from None
    check_models(a.check_models, Reporter(a.quiet))


def main(argv: list[str] | None = None) -> int:
    return run_command(
        "sa-prepare", parser(), run, argv, "take fewer frames with --frames, or give a smaller photo or video"
    )


if __name__ == "__main__":
    raise SystemExit(main())
