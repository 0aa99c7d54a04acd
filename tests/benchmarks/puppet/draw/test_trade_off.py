"""The plot of cost against quality."""

from xml.etree import ElementTree

from sa.benchmarks.puppet.draw.trade_off import frontier, trade_off

POINTS = [("exact", 1.0, 45.0), ("poor & dear", 0.9, 30.0), ("fast", 0.3, 38.0), ("draft", 0.1, 31.0)]


def test_only_what_nothing_cheaper_beats_is_on_the_frontier():
    assert [name for name, _, _ in frontier(POINTS)] == ["draft", "fast", "exact"]


def test_every_point_is_drawn_and_named():
    root = ElementTree.fromstring(trade_off(POINTS))
    space = {"svg": "http://www.w3.org/2000/svg"}
    circles = root.findall("svg:circle", space)
    assert len(circles) == len(POINTS)
    assert {text.text for text in root.findall("svg:text", space)} >= {name for name, _, _ in POINTS}
    assert [circle.get("fill") == "white" for circle in circles] == [False, True, False, False]
