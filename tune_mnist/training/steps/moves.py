"""What an optimiser does to parameters, a vector of them at a time, as LLVM instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from tune_mnist.training.jit import OPTIONS
from tune_mnist.training.steps.adamw import Rate
from tune_mnist.training.steps.base import BETA1, BETA2, EPS
from tune_mnist.training.steps.registers import INDEX, LANES, arrays, everywhere, loop
from tune_mnist.training.steps.sgd import SgdRate


def rate_at(rates: Any, step: int) -> Any:
    """Of compiled code: a step's numbers of `rates` that are arrays (steps,)."""
    raise NotImplementedError


def may_rest(rate: Any) -> bool:
    """Of compiled code: whether parameters whose gradient and first moment are 0 stay what they are."""
    raise NotImplementedError


@overload(rate_at, jit_options=OPTIONS)
def _rate_at(rates: Any, step: Any) -> Any:
    def adamw(rates: Any, step: Any) -> Any:
        return Rate(rates.lr[step], rates.root[step], rates.kept[step])

    def sgd(rates: Any, step: Any) -> Any:
        return SgdRate(rates.lr[step], rates.momentum[step], rates.direct[step], rates.ahead[step], rates.decay[step])

    return adamw if rates.instance_class is Rate else sgd


@overload(may_rest, jit_options=OPTIONS)
def _may_rest(rate: Any) -> Any:
    def adamw(rate: Any) -> bool:
        return rate.kept == 1 and rate.lr - rate.lr == 0

    def sgd(rate: Any) -> bool:
        return rate.decay == 0 and rate.lr - rate.lr == 0

    return adamw if rate.instance_class is Rate else sgd


def _move(
    _: Any, flat: Any, means: Any, squares: Any, place: Any, width: Any, gradient: Any, packed: Any, starts: Any,
    lanes: Any, rest: Any, rate: Any, may_rest: Any,
) -> Any:
    """Of compiled code: move `width` parameters from `place` on; returns whether they are finite after.

    By AdamW, or by SGD if that is whose the `rate` is.

    Of a `packed` gradient only some numbers are given, vector by vector: those of vector b lie from `starts[b]` on and
    belong to the lanes that are bits of `lanes[b]`; all others are `rest`. Where a vector's gradients and means are 0,
    and `may_rest`, only AdamW's squares move: to the same bits.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        flats, firsts, seconds, gradients, begins, masks = arrays(context, builder, signature, values)
        place, width, packed = values[3], values[4], values[6]
        numbers = [builder.extract_value(values[10], i) for i in range(len(rate.instance_class._fields))]
        rest, *factors = (everywhere(builder, value, LANES) for value in [values[9], *numbers])
        vector = rest.type
        whole = ir.VectorType(ir.IntType(gradients.bytes * 8), LANES)
        zero, ones = ir.Constant(vector, None), ir.Constant(whole, [1] * LANES)
        adamw = rate.instance_class is Rate
        must_move = builder.not_(values[11])

        def step(b: Any, bad: Sequence[Any]) -> list[Any]:
            first = builder.mul(b, b.type(LANES))
            here = builder.add(place, first)
            with builder.if_else(packed) as (then, otherwise):
                with then:
                    lanes_here = builder.trunc(builder.load(masks.pointer(b)), ir.IntType(LANES))
                    lanes_here = builder.bitcast(lanes_here, ir.VectorType(ir.IntType(1), LANES))
                    some = _expanded(builder, gradients.pointer(begins.index(b)), lanes_here, rest)
                    packed_here = builder.block
                with otherwise:
                    all_of_it = gradients.load(gradients.vector(LANES, first))
                    whole_here = builder.block
            g = builder.phi(vector)
            g.add_incoming(some, packed_here)
            g.add_incoming(all_of_it, whole_here)
            m = firsts.load(firsts.vector(LANES, here))
            # At rest are means that stay what they are: +0, or -0 where the gradient is -0, too.
            g_bits, m_bits = builder.bitcast(g, whole), builder.bitcast(m, whole)
            moved = builder.or_(
                builder.shl(builder.or_(g_bits, m_bits), ones), builder.and_(m_bits, builder.not_(g_bits))
            )
            lanes_moved = builder.bitcast(
                builder.icmp_unsigned("!=", moved, ir.Constant(whole, None)), ir.IntType(LANES)
            )
            moves = builder.or_(must_move, builder.icmp_unsigned("!=", lanes_moved, ir.IntType(LANES)(0)))
            decayed = _decayed(builder, seconds, here) if adamw else None
            with builder.if_else(moves, likely=True) as (then, otherwise):
                with then:
                    before = flats.load(flats.vector(LANES, here))
                    if adamw:
                        m, v, after = _adamw(builder, factors, g, m, decayed, before)
                        seconds.store(v, seconds.vector(LANES, here))
                    else:
                        m, after = _sgd(builder, factors, g, m, before)
                    firsts.store(m, firsts.vector(LANES, here))
                    flats.store(after, flats.vector(LANES, here))
                    worse = builder.fadd(bad[0], builder.fsub(after, after))  # not 0 but NaN where not finite
                    moved_to = builder.block
                with otherwise:
                    if adamw:
                        seconds.store(decayed, seconds.vector(LANES, here))
                    rested = builder.block
            result = builder.phi(vector)
            result.add_incoming(worse, moved_to)
            result.add_incoming(bad[0], rested)
            return [result]

        vectors = builder.sdiv(width, width.type(LANES))
        (bad,) = loop(builder, vectors.type(0), vectors, [zero], step)
        unsound = builder.bitcast(builder.fcmp_unordered("uno", bad, bad), ir.IntType(LANES))
        return builder.icmp_unsigned("==", unsound, unsound.type(0))

    return types.boolean(
        flat, means, squares, INDEX, INDEX, gradient, types.boolean, starts, lanes, rest, rate, types.boolean
    ), generate


move: Any = intrinsic(_move)  # as a decorator it would not be seen to give compiled code its first argument


def _decayed(builder: Any, seconds: Any, here: Any) -> Any:
    v = seconds.load(seconds.vector(LANES, here))
    return builder.fmul(v, _constant(v.type, BETA2))


def _adamw(builder: Any, factors: Sequence[Any], g: Any, m: Any, decayed: Any, before: Any) -> tuple[Any, Any, Any]:
    """Both moments and the parameters after a step of AdamW."""
    vector, (lr, root, kept) = g.type, factors
    beta1, rest1, rest2, eps = (_constant(vector, c) for c in (BETA1, 1 - BETA1, 1 - BETA2, EPS))
    m = builder.fadd(builder.fmul(m, beta1), builder.fmul(g, rest1))
    v = builder.fadd(decayed, builder.fmul(builder.fmul(g, g), rest2))
    name = f"llvm.sqrt.v{LANES}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    root_of = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
    below = builder.fadd(builder.fmul(builder.call(root_of, [v]), root), eps)
    return m, v, builder.fsub(builder.fmul(before, kept), builder.fdiv(builder.fmul(lr, m), below))


def _sgd(builder: Any, factors: Sequence[Any], g: Any, m: Any, before: Any) -> tuple[Any, Any]:
    """The momentum and the parameters after a step of SGD."""
    lr, momentum, direct, ahead, decay = factors
    g = builder.fadd(g, builder.fmul(decay, before))
    m = builder.fadd(builder.fmul(momentum, m), g)
    step = builder.fadd(builder.fmul(direct, g), builder.fmul(ahead, m))
    return m, builder.fsub(before, builder.fmul(lr, step))


def _constant(vector: Any, value: float) -> Any:
    number = np.float32(value) if isinstance(vector.element, ir.FloatType) else value
    return ir.Constant(vector, [ir.Constant(vector.element, float(number))] * LANES)


def _expanded(builder: Any, source: Any, lanes: Any, rest: Any) -> Any:
    """A vector of the successive numbers at `source` in those `lanes` that are set, and of `rest` in the others."""
    vector = rest.type
    name = f"llvm.masked.expandload.v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    kind = ir.FunctionType(vector, [source.type, lanes.type, vector])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [source, lanes, rest])
