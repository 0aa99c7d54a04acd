"""What sa-prepare says of a case that it has made."""

from pathlib import Path

from sa.runtime.console.progress import Reporter


def summarise(report: dict, out: Path, reporter: Reporter) -> None:
    """Print what case.json says of a case in the folder `out`."""
    quality, scale = report["alignment"]["quality"], report["alignment"]["scale"]
    residual = quality["residual"]
    rows = [
        ["scale of the driving person, x and y", f"{scale[0]:.3f}, {scale[1]:.3f}"],
        ["residual, share of the reference's height", "not aligned" if residual is None else f"{residual:.3f}"],
        ["reference's body points seen in the driving frames", f"{quality['visible_share']:.0%}"],
        ["body, face and hand points inside the picture", _inside(report["inside"])],
        ["frames without the person", str(len(report["frames_without_person"]))],
        ["frames without a face", str(len(report["frames_without_face"]))],
    ]
    reporter.table(f"{report['frames']} frames in {out}", ["", ""], rows)
    reporter.say(str(out / "preview.mp4"))


def _inside(inside: dict) -> str:
    """The shares of case.json in words."""
    shares = [inside[part] for part in ("body", "face", "hands")]
    return ", ".join("none" if share is None else f"{share:.0%}" for share in shares)
