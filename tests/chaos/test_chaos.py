"""The short version of every ordeal of ordeals.py, on one set of reference studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.harness import Lab
from chaos.ordeals import ORDEALS

# So many that on two processors every two of them share batches.
TWENTY_FOUR = ("--models", "SimpleNN", "MediumNN", "--batch-size", "32", "64", "128")
IN_TESTS_OF_THEIR_OWN = {"writes"}  # test_kills
# These fill disks or memory, or kill a real object store: asked for by -m ordeal.
DISTURB_THE_MACHINE = {"disk", "twelve", "bucket-deaths", "bucket-server", "bucket-drivers"}
NAMES = [
    pytest.param(name, marks=[pytest.mark.ordeal] if name in DISTURB_THE_MACHINE else [])
    for name in ORDEALS if name not in IN_TESTS_OF_THEIR_OWN
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(Path(tmp_path_factory.mktemp("chaos")), 0, TWENTY_FOUR)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ordeal(lab: Lab, name: str, request: pytest.FixtureRequest) -> None:
    ordeal = ORDEALS[name]
    if name.startswith("bucket-"):
        request.getfixturevalue("ceph")
    print(ordeal.undergo(lab, ordeal.short))  # what holds is asserted within
