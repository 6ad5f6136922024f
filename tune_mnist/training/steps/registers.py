"""The inner loops of the steps' products, as LLVM instructions: sums that stay in vector registers.

A sum begins with what `out` holds and goes on in the order of its terms, one fused multiply-add after the other, so the
bits do not depend on the shape of the tiles. Numbers of `out` and `right` lie row by row, without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from tune_mnist.training.steps.base import BETA1, BETA2, EPS

INDEX = types.intp
LANE = ir.IntType(32)
LANES = 16
"""A row's numbers come in multiples of this: a vector of AVX-512, or two of AVX2, or four of NEON."""
_wide = "+avx512f" in (config.CPU_FEATURES or binding.get_host_cpu_features().flatten())  # type: ignore[attr-defined]
WIDE = 64 if _wide else LANES
"""Columns of a tile of four rows: its sums fill half of the registers."""
LONG = 128 if _wide else 64
"""Columns of a tile of one row, for sparse sums."""


def tile(rows: int, columns: int) -> Any:
    """A function for compiled code, `add(out, left, right, left_rows, terms, count, row, column)`.

    To `out[row : row + rows, column : column + columns]` it adds what the product of the matrices left and right has
    there, of the `count` terms alone that are listed: left's columns and right's rows. Row r of `out` is that of
    left's row `left_rows[r]`. `rows` and `columns` are fixed, the lists int32.
    """

    @intrinsic
    def add(
        _: Any, out: Any, left: Any, right: Any, left_rows: Any, terms: Any, count: Any, row: Any, column: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            outs, lefts, rights, numbers_of_rows, numbers_of_terms = _arrays(context, builder, signature, values)
            count, row, column = values[5:]
            rows_here = [builder.add(row, row.type(r)) for r in range(rows)]
            targets = [outs.vector(columns, r, column) for r in rows_here]
            left_rows_here = [numbers_of_rows.index(r) for r in rows_here]

            def add_term(k: Any, sums: Sequence[Any]) -> list[Any]:
                term = numbers_of_terms.index(k)
                numbers = rights.load(rights.vector(columns, term, column))
                factors = [builder.load(lefts.pointer(r, term)) for r in left_rows_here]
                return [_fused(builder, f, numbers, s) for f, s in zip(factors, sums, strict=True)]

            sums = _loop(builder, count.type(0), count, [outs.load(target) for target in targets], add_term)
            for total, target in zip(sums, targets, strict=True):
                outs.store(total, target)
            return context.get_dummy_value()

        return types.void(out, left, right, left_rows, terms, INDEX, INDEX, INDEX), generate

    return add


def sparse_row(columns: int) -> Any:
    """A function for compiled code, `add(out, matrix, numbers, factors, begin, end, column)`, with `columns` fixed.

    For each k from `begin` to before `end` it adds `factors[k] * matrix[numbers[k]]` to `out`, both from `column` on.
    """

    @intrinsic
    def add(_: Any, out: Any, matrix: Any, numbers: Any, factors: Any, begin: Any, end: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            outs, rows, row_numbers, row_factors = _arrays(context, builder, signature, values)
            begin, end, column = values[4:]
            target = outs.vector(columns, column)

            def add_term(k: Any, sums: Sequence[Any]) -> list[Any]:
                row = row_numbers.index(k)
                factor = builder.load(row_factors.pointer(k))
                return [_fused(builder, factor, rows.load(rows.vector(columns, row, column)), sums[0])]

            (total,) = _loop(builder, begin, end, [outs.load(target)], add_term)
            outs.store(total, target)
            return context.get_dummy_value()

        return types.void(out, matrix, numbers, factors, INDEX, INDEX, INDEX), generate

    return add


def adam(packed: bool) -> Any:
    """A function for compiled code that moves some parameters, AdamW's, and returns whether they are finite after.

    `move(flat, means, squares, place, width, gradient, starts, lanes, rest, lr, root, kept, may_rest)` moves `width`
    parameters from `place` on. Of a `packed` gradient only some numbers are given, vector by vector: those of vector b
    lie from `starts[b]` on and belong to the lanes that are bits of `lanes[b]`; all others are `rest`.

    Where a vector's gradients and means are 0, and `may_rest`, only the squares move: to the same bits.
    """

    @intrinsic
    def move(_: Any, flat: Any, means: Any, squares: Any, place: Any, width: Any, gradient: Any, starts: Any,
             lanes: Any, rest: Any, lr: Any, root: Any, kept: Any, may_rest: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            flats, firsts, seconds, gradients, begins, masks = _arrays(context, builder, signature, values)
            place, width = values[3:5]
            rest, lr, root, kept = (_everywhere(builder, value, LANES) for value in values[8:12])
            vector, number = rest.type, rest.type.element
            rounded = np.float32 if gradients.bytes == 4 else np.float64
            whole = ir.VectorType(ir.IntType(gradients.bytes * 8), LANES)
            constants = (float(rounded(c)) for c in (BETA1, 1 - BETA1, BETA2, 1 - BETA2, EPS))
            beta1, rest1, beta2, rest2, eps = (ir.Constant(vector, [ir.Constant(number, c)] * LANES) for c in constants)
            zero, ones = ir.Constant(vector, None), ir.Constant(whole, [1] * LANES)
            must_move = builder.not_(values[12])

            def step(b: Any, bad: Sequence[Any]) -> list[Any]:
                first = builder.mul(b, b.type(LANES))
                here = builder.add(place, first)
                if packed:
                    lanes_here = builder.bitcast(
                        builder.trunc(builder.load(masks.pointer(b)), ir.IntType(LANES)),
                        ir.VectorType(ir.IntType(1), LANES),
                    )
                    source = gradients.pointer(begins.index(b))
                    g = _expanded(builder, source, lanes_here, rest)
                else:
                    g = gradients.load(gradients.vector(LANES, first))
                m, v = firsts.load(firsts.vector(LANES, here)), seconds.load(seconds.vector(LANES, here))
                # At rest are means that stay what they are: +0, or -0 where the gradient is -0, too.
                g_bits, m_bits = builder.bitcast(g, whole), builder.bitcast(m, whole)
                moved = builder.or_(
                    builder.shl(builder.or_(g_bits, m_bits), ones), builder.and_(m_bits, builder.not_(g_bits))
                )
                lanes_moved = builder.bitcast(
                    builder.icmp_unsigned("!=", moved, ir.Constant(whole, None)), ir.IntType(LANES)
                )
                moves = builder.or_(must_move, builder.icmp_unsigned("!=", lanes_moved, ir.IntType(LANES)(0)))
                decayed = builder.fmul(v, beta2)
                with builder.if_else(moves, likely=True) as (then, otherwise):
                    with then:
                        m = builder.fadd(builder.fmul(m, beta1), builder.fmul(g, rest1))
                        v = builder.fadd(decayed, builder.fmul(builder.fmul(g, g), rest2))
                        root_of = cgutils.get_or_insert_function(
                            builder.module, ir.FunctionType(vector, [vector]),
                            f"llvm.sqrt.v{LANES}f{gradients.bytes * 8}",
                        )
                        below = builder.fadd(builder.fmul(builder.call(root_of, [v]), root), eps)
                        before = builder.fmul(flats.load(flats.vector(LANES, here)), kept)
                        after = builder.fsub(before, builder.fdiv(builder.fmul(lr, m), below))
                        firsts.store(m, firsts.vector(LANES, here))
                        seconds.store(v, seconds.vector(LANES, here))
                        flats.store(after, flats.vector(LANES, here))
                        worse = builder.fadd(bad[0], builder.fsub(after, after))  # not 0 but NaN where not finite
                        moved_to = builder.block
                    with otherwise:
                        seconds.store(decayed, seconds.vector(LANES, here))
                        rested = builder.block
                result = builder.phi(vector)
                result.add_incoming(worse, moved_to)
                result.add_incoming(bad[0], rested)
                return [result]

            vectors = builder.sdiv(width, width.type(LANES))
            (bad,) = _loop(builder, vectors.type(0), vectors, [zero], step)
            unsound = builder.bitcast(builder.fcmp_unordered("uno", bad, bad), ir.IntType(LANES))
            return builder.icmp_unsigned("==", unsound, unsound.type(0))

        return types.boolean(flat, means, squares, INDEX, INDEX, gradient, starts, lanes, rest, lr, root, kept,
                             types.boolean), generate  # fmt: skip

    return move


class _Array:
    """An array of compiled code, and how its numbers are read and written, one or a vector of them at a time."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.context, self.builder, self.kind = context, builder, kind
        self.array = context.make_array(kind)(context, builder, value)
        self.number = context.get_value_type(kind.dtype)
        self.bytes = context.get_abi_sizeof(self.number)

    def pointer(self, *indices: Any) -> Any:
        """To the number at the indices."""
        return cgutils.get_item_pointer(self.context, self.builder, self.kind, self.array, indices)

    def index(self, place: Any) -> Any:
        """The number at the place of an array of non-negative integers, as an index."""
        return self.builder.zext(self.builder.load(self.pointer(place)), place.type)

    def vector(self, length: int, *indices: Any) -> Any:
        """A pointer to the vector of `length` numbers of a row that begins at the indices."""
        return self.builder.bitcast(self.pointer(*indices), ir.VectorType(self.number, length).as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=self.bytes)

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, pointer, align=self.bytes)


def _arrays(context: Any, builder: Any, signature: Any, values: Any) -> list[_Array]:
    """The arrays among a call's arguments."""
    pairs = zip(signature.args, values, strict=True)
    return [_Array(context, builder, kind, value) for kind, value in pairs if isinstance(kind, types.Array)]


def _fused(builder: Any, factor: Any, numbers: Any, total: Any) -> Any:
    """total + factor * numbers, in each lane."""
    vector = numbers.type
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    name = f"llvm.fma.v{vector.count}f{bits}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return builder.call(fma, [_everywhere(builder, factor, vector.count), numbers, total])


def _everywhere(builder: Any, number: Any, count: int) -> Any:
    """A vector of `count` times the number."""
    none = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(none, number, LANE(0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(LANE, count), None))


def _expanded(builder: Any, source: Any, lanes: Any, rest: Any) -> Any:
    """A vector of the successive numbers at `source` in those `lanes` that are set, and of `rest` in the others."""
    vector = rest.type
    name = f"llvm.masked.expandload.v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    kind = ir.FunctionType(vector, [source.type, lanes.type, vector])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [source, lanes, rest])


def _loop(builder: Any, begin: Any, end: Any, before: Sequence[Any], step: Callable[..., list[Any]]) -> list[Any]:
    """The values after `step(k, values)` for each k from `begin` to before `end`, kept in registers."""
    entry, body, done = builder.block, builder.append_basic_block("body"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", begin, end), body, done)
    builder.position_at_end(body)
    k, values = builder.phi(begin.type), [builder.phi(value.type) for value in before]
    after = step(k, values)
    last = builder.block  # the step may have branches of its own
    following = builder.add(k, k.type(1))
    for phi, first, next_one in zip([k, *values], [begin, *before], [following, *after], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(next_one, last)
    builder.cbranch(builder.icmp_signed("<", following, end), body, done)
    builder.position_at_end(done)
    results = [builder.phi(value.type) for value in before]
    for phi, first, final in zip(results, before, after, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(final, last)
    return results
