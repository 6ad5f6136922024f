"""The distributions of the largest of many differences, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, studentized_range

from tune_mnist.tables.statistics.multiplicity import holm, range_p


@pytest.mark.parametrize(("cells", "df"), [(3, 2.0), (50, 8.3), (192, 40.0)])
def test_the_range_is_scipy_s(cells: int, df: float) -> None:
    q = np.array([1.0, 4.0, 6.5])
    assert range_p(q, cells, np.full(3, df)) == pytest.approx(studentized_range.sf(q, cells, df), abs=2e-4)
    assert range_p(np.array([0.0, 1e9]), cells, np.full(2, np.inf)) == pytest.approx([1, 0])


def test_holm_of_a_known_family() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    assert (holm(p) >= false_discovery_control(p)).all()
    assert len(holm(np.array([]))) == 0
