"""Dormant units: those of the first layer that are 0 for every training picture and stay so, left out for an epoch.

Where AdamW's first moments of a unit's weights, in and out, are 0, too, nothing moves these weights, so that nothing
wakes the unit: the network without it takes the same steps, to the bit. Only the second moments still decay. What
diverges does so at the same step, but a dormant unit's weights stay finite: 0 times no number is not taken there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.batches import Rows
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps import kernels
from tune_mnist.training.steps.base import BETA2
from tune_mnist.training.steps.network import Network
from tune_mnist.training.steps.products import Floats
from tune_mnist.training.steps.registers import LANES

LOOK = 1024
"""Pictures that are looked at before the units that they wake are left aside."""

Units = NDArray[np.int64]
Matrices = tuple[Floats, Floats]


class Core(NamedTuple):
    """A network without its dormant units, with parameters and moments of its own."""

    network: Network
    units: Units
    """The numbers of the first layer's units that it has; it may have more at the end, which stay 0."""

    def of_units(self, columns: Floats) -> Floats:
        """Of a number for each unit of the whole network (rows, width) those for the core's own."""
        return padded(columns[:, self.units])


def in_and_out(network: Network, flat: Floats) -> Matrices:
    """The parameters into the first layer's units (785, width), and the weights out of them (width, n_out): views."""
    n_in, width, n_out = network.sizes[:3]
    first, second = network.places[:2]
    return flat[first:second].reshape(n_in + 1, width), flat[second:][: width * n_out].reshape(width, n_out)


def find_dormant(network: Network, by_picture: Rows, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the first layer's units (width,) are dormant for the pictures; those `known` to be so are not tried."""
    (into, out), moments = in_and_out(network, network.flat), in_and_out(network, network.means)
    finite: Any = np.isfinite(out).all(1)
    for squares, axis in zip(in_and_out(network, network.squares), (0, 1), strict=True):
        finite &= np.isfinite(squares).all(axis)
    still: Any = finite & ~moments[0].any(0) & ~moments[1].any(1)
    untried = np.flatnonzero(still & ~known)
    still[untried] = ~fires(into[:, untried], by_picture)
    return still


def fires(into: Floats, by_picture: Rows) -> NDArray[np.bool_]:
    """Which of the units of these parameters (785, units) are not 0, or no number, for some of the pictures."""
    found = np.zeros(into.shape[1], bool)
    for first in range(0, len(by_picture.offsets) - 1, LOOK):
        quiet = np.flatnonzero(~found)
        if not len(quiet):
            break
        network = first_layer_of(into[:, quiet])
        count = min(LOOK, len(by_picture.offsets) - 1 - first)
        values = kernels.first_values(network, by_picture, first, count)[:, : len(quiet)]
        found[quiet] = ~(values <= 0).all(0)
    return found


def padded(columns: Floats) -> Floats:
    """The columns, filled up with 0 to a multiple of 16, and at least that many."""
    missing = -columns.shape[1] % LANES if columns.shape[1] else LANES
    return np.pad(columns, ((0, 0), (0, missing)))


def first_layer_of(into: Floats) -> Network:
    """A network of one layer of these parameters (785, units), without moments."""
    columns = padded(into)
    none = np.empty(0, into.dtype)
    sizes = np.array([columns.shape[0] - 1, columns.shape[1]])
    return Network(sizes, np.array([0, columns.size]), columns.reshape(-1), none, none)


def core_of(network: Network, dormant: NDArray[np.bool_]) -> Core | None:
    """The network without its dormant units (width,), or None where not even 16 are."""
    units = np.flatnonzero(~dormant)
    if max(LANES, len(units)) > network.sizes[1] - LANES:
        return None
    arrays = []
    for flat in (network.flat, network.means, network.squares):
        into, out = in_and_out(network, flat)
        small = padded(into[:, units]), padded(out[units].T).T
        arrays.append(np.concatenate([*(part.reshape(-1) for part in small), flat[network.places[1] + out.size:]]))
    sizes = network.sizes.copy()
    sizes[1] = small[0].shape[1]
    places = network.places - (len(network.flat) - len(arrays[0]))
    places[0], places[1] = 0, small[0].size
    return Core(Network(sizes, places, *arrays), units)


def put_back(core: Core, network: Network, steps: int, lit: NDArray[np.bool_]) -> None:
    """Write what the core has become after an epoch of `steps` to the network it is of.

    Of its dormant units the second moments have decayed, and the first become +0, where they were -0, but for the
    pixels that are not `lit` (784,) in any picture: theirs alone are gradients of -0.
    """
    dormant = np.setdiff1d(np.arange(network.sizes[1]), core.units)
    small, count = core.network, len(core.units)
    for whole, part in ((network.flat, small.flat), (network.means, small.means), (network.squares, small.squares)):
        (into, out), (core_into, core_out) = in_and_out(network, whole), in_and_out(small, part)
        into[:, core.units], out[core.units] = core_into[:, :count], core_out[:count]
        whole[network.places[1] + out.size:] = part[small.places[1] + core_out.size:]
    into, out = in_and_out(network, network.means)
    into[np.ix_(np.append(lit, True), dormant)], out[dormant] = 0, 0
    into, out = in_and_out(network, network.squares)
    into[:, dormant], out[dormant] = decayed(into[:, dormant], steps), decayed(out[dormant], steps)


def decayed(squares: Floats, steps: int) -> Floats:
    """Second moments after `steps` without gradient, rounded at each."""
    numbers = squares.reshape(-1).copy()
    decay(numbers, steps)
    return numbers.reshape(squares.shape)


@compiled
def decay(numbers: Floats, steps: int) -> None:
    """Multiply the numbers (n,) by AdamW's beta2 as often as there are steps."""
    some, beta2 = 4 * LANES, numbers.dtype.type(BETA2)
    here = np.empty(some, numbers.dtype)
    for i in range(0, len(numbers), some):
        count = min(some, len(numbers) - i)
        here[:] = 0
        here[:count] = numbers[i:i + count]
        for _ in range(steps):
            for q in range(some):
                here[q] *= beta2
        numbers[i:i + count] = here[:count]
