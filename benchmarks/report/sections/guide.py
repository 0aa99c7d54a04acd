"""The section that explains the words of the report."""

from sa.benchmarks.fixtures.face_inputs import LOSS_GRADIENT
from sa.benchmarks.report.comparison import LEAST_COSINE, SAME_NETWORK, TOLERANCE
from sa.benchmarks.report.parts import Section, Table
from sa.benchmarks.report.video_cost import FPS

GUIDE = Section(
    "How to read this",
    tables=(
        Table(
            "Words",
            ("word", "meaning"),
            [
                ("p20, p50, p90", "percentiles of the repetitions; the first call is a warm-up and never counted"),
                (
                    "error",
                    "largest difference from the float32 network, divided by its largest value; tolerated: "
                    + ", ".join(f"{value:g} in {precision}" for precision, value in TOLERANCE.items()),
                ),
                (
                    "vs. peer",
                    "how many times as fast as the peer on the same machine, for the same subject, shapes and frames; "
                    "eager PyTorch if it was measured",
                ),
                ("floor", "the least seconds that arithmetic and memory traffic allow; measured engines are slower"),
                (
                    "of ceiling",
                    "the floor from this machine's own matrix product and copy, divided by the seconds measured",
                ),
                (
                    "peak memory",
                    "of the process on a CPU, of the device on a GPU. A set-up's is the largest of its subjects, "
                    "without the loss gradient, which only refinement needs",
                ),
                (
                    LOSS_GRADIENT,
                    "the loss of face refinement and its gradient, for one decoder chunk. What an engine computes "
                    "twice is counted once. Single values jump where an activation changes sign, so it is judged by "
                    f"its cosine: {LEAST_COSINE:g} and more is tolerated",
                ),
                (
                    "one video",
                    "conditioning + steps x denoising step + decoding + writing, at their medians; where a stage was "
                    "not measured, the engine calls it consists of",
                ),
                ("€ per second", f"price per hour times these seconds, per second of video at {FPS} frames per second"),
                (
                    "workload",
                    "set-ups of the same shapes on the same machine, unless their FLOPs differ by more than "
                    f"{SAME_NETWORK:g} times: then they are different networks and are not compared",
                ),
            ],
            words=2,
        ),
    ),
)
