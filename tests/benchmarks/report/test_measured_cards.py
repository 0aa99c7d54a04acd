"""Measured cards beside their data sheets, by hand."""

import pytest
from sample_rows import card, contender, machine, row

from sa.benchmarks.report.comparison import compare
from sa.benchmarks.report.roofline import load_cards
from sa.benchmarks.report.sections.measured_cards import card_of, floor_on, measured_cards


def test_a_row_stands_beside_its_cards_floor():
    """1 TFLOP in fp16 at 989.5 TFLOP/s is 1.01 ms; it took 5 ms. The card itself was measured at 500 TFLOP/s."""
    half = contender(precision="fp16")
    place = card(half_gemm_flops=500e12, copy_bytes=2e12)
    measured = row(machine=place, contender=half, flops=1e12, bytes=1e9, seconds=5e-3)
    (table,) = measured_cards(compare([measured])).tables
    assert table.caption == "M1: NVIDIA H100 80GB HBM3, by the data sheet of NVIDIA H100 SXM"
    (cells,) = table.rows
    assert cells == ("unet", "A: engines-ort (onnxruntime fp16)", "1.01 ms", "2.00 ms", "5.00 ms", "4.95×")


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"),
        ("NVIDIA H200", "NVIDIA H200 SXM"),
        ("NVIDIA L40S", "NVIDIA L40S"),
        ("NVIDIA L4", "NVIDIA L4"),
        ("Tesla T4", "NVIDIA T4"),
        ("NVIDIA GeForce RTX 5090", None),
    ],
)
def test_a_card_is_known_by_its_drivers_name(device, found):
    (host,) = compare([row(machine=card(device=device))])
    known = card_of(host, load_cards().values())
    assert (known and known.name) == found


def test_without_a_known_card_or_counts_there_is_no_section():
    assert measured_cards(compare([row(machine=machine())])) is None
    assert measured_cards(compare([row(machine=card(), flops=None)])) is None
    assert floor_on(row(contender=contender(precision="int8")), load_cards()["l4"]) is None
