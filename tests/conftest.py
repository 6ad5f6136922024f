"""How the tests are shared out: what starts Ray runs one after the other, beside all the others."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests, which start Ray on all processors, into one group, which one worker takes."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group("ray"))
