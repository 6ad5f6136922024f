"""Numbers as people read them."""

from __future__ import annotations

import math

from tune_mnist.tables.text import interval, nats, p_value, percent, points


def test_numbers_have_their_unit_and_decimals() -> None:
    assert percent(0.98765) == "98.77%"
    assert (points(0.0123), points(-0.0123)) == ("+1.23", "-1.23")
    assert nats(1.4611) == "1.4611"
    assert [p_value(p) for p in (0.0004, 0.0412, 0.999)] == ["< 0.001", "0.041", "1"]
    assert interval(0.97, 0.98) == "97.00 – 98.00%"


def test_what_is_not_known_is_a_dash_or_nothing() -> None:
    assert [show(math.nan) for show in (percent, nats, points, p_value)] == ["–", "–", "", ""]
    assert interval(math.nan, math.nan) == ""
