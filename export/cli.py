"""sa-export: turn a checkpoint into an engine set."""

import argparse
from pathlib import Path

from sa.export.presets import DEFAULT, check_window, load_preset, presets, shapes_from
from sa.export.targets.openvino.settings import check_openvino
from sa.export.targets.tensorrt.settings import DEVICES, plan_settings
from sa.runtime.backends.libraries import quiet_paddle
from sa.runtime.console.commands import run_command
from sa.runtime.console.device import add_device_id, use_gpu
from sa.runtime.console.progress import Reporter
from sa.runtime.contract import Manifest
from sa.runtime.errors import InputError, import_failed

DESCRIPTION = """\
Turn StableAnimator's checkpoint into an engine set: static engines for one size and one engine library.

A checkpoint folder holds, as published,
  SVD/{feature_extractor,image_encoder,scheduler,unet,vae}      Stable Video Diffusion img2vid-xt
  Animation/{unet,pose_net,face_encoder}.{safetensors,pth}      StableAnimator's own weights
What ppdiffusers, training scripts and download tools leave is read as well (docs/paddle.md), and --inspect shows what
was found. Nothing in a weight file is ever executed.
"""

EPILOG = """\
Every engine is compared with the float32 network; the figures are shown and kept in manifest.json. An engine that
misses its tolerance fails the export, and a failed export leaves nothing behind.

examples:
  sa-export --checkpoint weights/ --out engines/
  sa-export --checkpoint weights/ --out engines-paddle/ --backend paddle --preset portrait-1024x576
  sa-export --inspect weights/

exit codes: 0 done, 2 a flag or the checkpoint cannot be used, 130 interrupted, 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-export", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = parser.add_argument_group("files")
    source = files.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, metavar="DIR", help="the folder with the weights")
    source.add_argument(
        "--inspect",
        type=Path,
        metavar="CHECKPOINT",
        help="export nothing: show the weight files found there, their types and sizes, and what is missing",
    )
    files.add_argument("--out", type=Path, metavar="DIR", help="where the engine set goes")
    engines = parser.add_argument_group("engines")
    engines.add_argument(
        "--backend",
        choices=["onnxruntime", "openvino", "paddle", "tensorrt", "tensorrt-rtx"],
        default="onnxruntime",
        help="default: %(default)s; openvino: CPUs, and the one for bf16; tensorrt: plans for the GPU in this machine; "
        "tensorrt-rtx: for GeForce and RTX cards, which need not be in it",
    )
    engines.add_argument(
        "--precision",
        choices=["fp32", "fp16", "bf16"],
        default="fp32",
        help="default: %(default)s; fp16: half the size, for GPUs; what would lose accuracy stays in float32; "
        "Paddle's is made on the GPU that the export runs on; bf16: half the size and about twice as fast, with "
        "openvino, on CPUs that compute in it (avx512_bf16 or AMX)",
    )
    engines.add_argument(
        "--device",
        help="onnxruntime: cpu (default), for CPUs and GPUs, or cuda, with operators that only its CUDA provider has; "
        f"tensorrt-rtx: the GPUs to build for, by compute capability, such as {DEVICES} (default)",
    )
    add_device_id(engines, "tensorrt, and paddle in fp16: ")
    engines.add_argument(
        "--plain",
        action="store_true",
        help="the UNet as published, for comparison; by default, what does not change between its calls is "
        "computed before them",
    )
    engines.add_argument("--refine", action="store_true", help="also the engines of the HJB face refinement")
    engines.add_argument(
        "--refine-plan",
        choices=["segmented", "whole", "auto"],
        default="segmented",
        help="segmented (default): the decoder's gradient in many engines, in little memory; whole: in one, faster; "
        "auto: whole if it fits into the memory that is free here and now",
    )
    engines.add_argument(
        "--refine-window",
        type=int,
        metavar="PIXELS",
        help="also engines of the gradient in a window of so many pixels a side, around the faces of a chunk of "
        "frames: faster, in less memory, and nearly the same gradient (default: none)",
    )
    engines.add_argument(
        "--cache-depth",
        type=int,
        metavar="N",
        help="also a UNet of the outermost N layers alone, for sa-run --cache-interval and --quality fast, which is "
        "measured with 3; few layers are fast, more come nearer to the whole UNet (default: none)",
    )
    engines.add_argument(
        "--prepack",
        action="store_true",
        help="ONNX Runtime: also keep large engines as they are once loaded: they then load in a fraction of the time, "
        "on machines with this CPU's instruction set; the set takes nearly twice the disk",
    )
    engines.add_argument(
        "--onednn",
        action=argparse.BooleanOptionalAction,
        help="paddle, on CPUs: use oneDNN's kernels for each engine that is certified with them (default), or for none",
    )
    plans = parser.add_argument_group("TensorRT")
    plans.add_argument(
        "--workspace",
        type=float,
        metavar="GIB",
        help="device memory a plan may use inside a call (default: any amount)",
    )
    plans.add_argument(
        "--builder-level",
        type=int,
        metavar="0-5",
        help="tensorrt: how hard to look for the fastest kernels (default: 3)",
    )
    plans.add_argument(
        "--hardware-compatible",
        action="store_true",
        help="tensorrt: plans for every GPU from Ampere on, not only of this one's compute capability; may be slower",
    )
    plans.add_argument(
        "--strip-plans",
        action="store_true",
        help="tensorrt: plans without weights, which stay in files that plans share and are put in on loading",
    )
    plans.add_argument(
        "--kernels",
        choices=["on", "off"],
        default="off",
        help="tensorrt: put the fused kernels of this project into the plans (default: %(default)s, as no GPU has run "
        "them yet)",
    )
    shapes = parser.add_argument_group("shapes", "a preset, and flags that replace parts of it")
    shapes.add_argument(
        "--preset", metavar="NAME", default=DEFAULT, help=f"{', '.join(presets())} (default: %(default)s)"
    )
    shapes.add_argument("--height", type=int, help="of the video in pixels, a multiple of 64")
    shapes.add_argument("--width", type=int, help="of the video in pixels, a multiple of 64")
    shapes.add_argument("--tile-size", type=int, metavar="FRAMES", help="frames the UNet sees at once (trained: 16)")
    shapes.add_argument("--decode-chunk", type=int, metavar="FRAMES", help="frames decoded at once (published: 4)")
    machine = parser.add_argument_group("output and machine")
    machine.add_argument("--threads", type=int, help="CPU threads (default: all this process may use)")
    machine.add_argument("--quiet", action="store_true", help="no progress, no summary: errors only")
    return parser


def run(arguments: argparse.Namespace) -> None:
    a = arguments
    if a.inspect is not None:
        return _inspect(a)
    if a.out is None:
        raise InputError("--out is missing: give the folder where the engine set goes.")
    if a.onednn is not None and a.backend != "paddle":
        raise InputError("--onednn is a choice of Paddle Inference: give it with --backend paddle.")
    if a.prepack and a.backend != "onnxruntime":
        raise InputError("--prepack is a choice of ONNX Runtime: give it with --backend onnxruntime.")
    if a.precision == "bf16" and a.backend != "openvino":
        raise InputError("--precision bf16 is for CPUs and OpenVINO: give --backend openvino, or another --precision.")
    if a.backend == "openvino" and a.precision == "fp16":
        raise InputError("--precision fp16 is for GPUs, and OpenVINO runs on CPUs: give --precision bf16 or fp32.")
    if a.backend == "openvino":
        check_openvino(a)
    if a.device_id is not None:
        if a.backend != "tensorrt" and (a.backend, a.precision) != ("paddle", "fp16"):
            raise InputError(
                "--device-id is for exports that use a GPU: give it with --backend tensorrt, or Paddle's fp16."
            )
        use_gpu(a.device_id)
    plans = plan_settings(a)
    if a.prepack and a.device == "cuda":
        raise InputError("--prepack is for CPUs: leave it out, or --device cuda.")
    if a.onednn and a.precision == "fp16":
        raise InputError("--onednn is for CPUs, where Paddle Inference is float32: give --precision fp32.")
    only_float32 = {
        "--plain": a.plain,
        "--prepack": a.prepack,
        f"--refine-plan {a.refine_plan}": a.refine and a.refine_plan != "segmented",
        "--refine-window": a.refine_window is not None,
    }
    if a.precision != "fp32" and (flag := next((flag for flag, given in only_float32.items() if given), None)):
        raise InputError(f"{flag} is for float32 engines: leave it out, or give --precision fp32.")
    if a.cache_depth is not None and a.cache_depth < 1:
        raise InputError(f"--cache-depth must be 1 or more, not {a.cache_depth}.")
    if a.cache_depth is not None and a.plain:
        raise InputError("--cache-depth cuts the specialized UNet: leave out --plain.")
    if a.threads is not None and not 1 <= a.threads <= 1024:
        raise InputError(f"--threads must be 1 to 1024, not {a.threads}.")
    if a.refine_plan != "segmented" and not a.refine:
        raise InputError("--refine-plan is how --refine is done: give it with --refine.")
    if a.refine_window is not None and (not a.refine or a.refine_plan != "segmented"):
        raise InputError("--refine-window adds to the segmented plan: give it with --refine, without --refine-plan.")
    preset = load_preset(a.preset)
    shapes = shapes_from(
        preset,
        height=a.height,
        width=a.width,
        tile_size=a.tile_size,
        decode_chunk=a.decode_chunk,
    )
    if a.refine_window is not None:
        check_window(a.refine_window, shapes)
    quiet_paddle()
    try:
        if a.precision == "fp16" and a.backend == "paddle":
            _require_paddle_gpu()
        from sa.export.exporter import export
        from sa.export.settings import ExportSettings
        from sa.export.targets.choose import choose_target
    except ImportError as error:
        raise import_failed("sa-export", error, "export") from None
    target = choose_target(a, plans)
    if a.refine_plan == "auto" and target.device != "cpu":
        raise InputError("--refine-plan auto counts this machine's memory, not a GPU's: give segmented or whole.")
    settings = ExportSettings(
        shapes,
        target,
        preset=a.preset if shapes == preset.shapes else None,
        precision=a.precision,
        plain=a.plain,
        refine=a.refine_plan if a.refine else None,
        refine_window=a.refine_window,
        cache_depth=a.cache_depth,
    )
    reporter = Reporter(a.quiet)
    manifest = export(a.checkpoint, a.out, settings, reporter)
    show(manifest, a.out, reporter)


def _inspect(a: argparse.Namespace) -> None:
    if a.out is not None:
        raise InputError("--inspect exports nothing: leave out --out.")
    quiet_paddle()
    try:
        from sa.export.inspection import inspect
    except ImportError as error:
        raise import_failed("sa-export", error, "export") from None
    inspect(a.inspect, Reporter(a.quiet))


def _require_paddle_gpu() -> None:
    """Paddle Inference converts a program by the fp16 kernels it has: only a GPU can show what comes of it."""
    import paddle

    if not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count()):
        raise InputError(
            "--precision fp16 is not possible with --backend paddle on a CPU, where Paddle Inference has no fp16 "
            "kernels: give --backend onnxruntime, or --precision fp32, or export on a machine with an NVIDIA GPU and "
            "paddlepaddle-gpu."
        )


def show(manifest: Manifest, out: Path, reporter: Reporter) -> None:
    """The closing table: cost, size and certificate of every engine."""
    rows = []
    segments = [engine for engine in manifest.engines if engine.role in manifest.segment_roles]
    for engine in manifest.engines:
        if engine in segments:
            continue
        size = sum(file.bytes for file in engine.files)
        result = engine.certificate
        rows.append(
            [
                engine.role,
                f"{engine.parameters / 1e6:.1f} M",
                f"{engine.flops / 1e9:.1f}",
                f"{size / 2**20:.0f}",
                f"{result.max_abs:.1e}",
                f"{result.relative:.1e}",
                f"{result.cosine:.9f}",
                result.shapes,
                "yes" if engine.onednn else "no",
            ]
        )
    if segments:
        worst = max((engine.certificate for engine in segments), key=lambda result: result.relative)
        rows.append(
            [
                f"{len(segments)} of the decoder's segments",
                "",
                f"{sum(engine.flops for engine in segments) / 1e9:.1f}",
                "",
                f"{worst.max_abs:.1e}",
                f"{worst.relative:.1e}",
                f"{min(engine.certificate.cosine for engine in segments):.9f}",
                worst.shapes,
                f"{sum(engine.onednn for engine in segments)} of {len(segments)}",
            ]
        )
    columns = ["engine", "parameters", "GFLOP", "MiB", "max abs", "relative", "cosine", "certified at", "oneDNN"]
    if manifest.backend != "paddle" or manifest.device != "cpu":
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    s = manifest.shapes
    title = f"{out}: {manifest.backend} {manifest.backend_version}, {s.height}x{s.width}, tiles of {s.tile_size} frames"
    reporter.table(title, columns, rows)
    reporter.say(
        f"{manifest.export_seconds:.0f} s, peak memory {manifest.export_peak_bytes / 2**30:.1f} GiB. "
        f"Next: sa-run --engines {out} --case CASE --out RESULT"
    )


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-export", parser(), run, argv, "give a smaller --height, --width or --tile-size")


if __name__ == "__main__":
    raise SystemExit(main())
