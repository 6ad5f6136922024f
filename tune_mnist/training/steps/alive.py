"""What of a batch is zero for every picture, so that it can be left out of products: the bits of sums stay.

A unit is dead in a batch if its value after ReLU and dropout is 0 for all pictures; its gradient is then 0, too. To
leave out a product of 0 changes no sum, unless the other factor is infinite or no number: then nothing is left out.
"""

from __future__ import annotations

from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.products import Floats, Numbers, matrix
from tune_mnist.training.steps.registers import LANES


@compiled
def list_alive(values: Floats, may_skip: bool, magnitudes: Floats, numbers: Numbers) -> tuple[int, bool]:
    """Write to `numbers` which columns of `values` (pictures, width) are not all 0, or all if none `may_skip`.

    Returns how many they are, and whether all values are finite. `magnitudes` (width,) is overwritten.
    """
    width, zero = values.shape[1], values.dtype.type(0)
    magnitudes[:width] = 0
    for r in range(len(values)):
        for j in range(width):
            magnitudes[j] += abs(values[r, j])
    count, finite = 0, True
    for j in range(width):
        numbers[count] = j
        count += not may_skip or magnitudes[j] != zero
        finite &= magnitudes[j] - magnitudes[j] == zero
    return count, finite


@compiled
def pack(values: Floats, numbers: Numbers, count: int, out: Floats, starts: Numbers, lanes: Numbers) -> Floats:
    """The first `count` of the columns that `numbers` lists, side by side and filled up with 0: a view of `out`.

    `starts` and `lanes` become where each 16 columns of `values` (rows, width) are found in it, as `adam` takes them.
    """
    width = (count + LANES - 1) // LANES * LANES
    packed = matrix(out, len(values), width)
    for r in range(len(values)):
        for c in range(count):
            packed[r, c] = values[r, numbers[c]]
        packed[r, count:] = 0
    c = 0
    for block in range(values.shape[1] // LANES):
        starts[block], bits = c, 0
        while c < count and numbers[c] < (block + 1) * LANES:
            bits |= 1 << (numbers[c] - block * LANES)
            c += 1
        lanes[block] = bits
    return packed


@compiled
def all_finite(numbers: Floats) -> bool:
    """Whether all of the numbers (n,) are finite."""
    finite, zero = True, numbers.dtype.type(0)
    for i in range(len(numbers)):
        finite &= numbers[i] - numbers[i] == zero
    return finite
