"""CSV files have the bytes that pandas would write."""

from __future__ import annotations

import pandas as pd

from tune_mnist.tables.csv_text import csv_of


def test_it_is_what_pandas_writes() -> None:
    frame = pd.DataFrame({
        "text": ["plain", 'with "quotes", commas', "two\nlines", ""],
        "missing": ["a", None, float("nan"), "b"],
        "accuracy": [0.1, 1e-5, float("nan"), 1 / 3],
        "large": [1e16, -0.0, 123456789.0, float("inf")],
        "whole": [1, -2, 3, 10**15],
        "with gaps": pd.array([1, None, 3, 4], dtype="Int64"),
        "flag": [True, False, True, False],
        "flag with gaps": [True, None, False, True],
        "none": [None] * 4,
    })
    assert csv_of(frame) == frame.to_csv(index=False, lineterminator="\n")
    assert csv_of(frame.iloc[:0]) == frame.iloc[:0].to_csv(index=False, lineterminator="\n")
    one = frame[["missing"]]  # in which an empty line would be no row
    assert csv_of(one) == one.to_csv(index=False, lineterminator="\n")
