"""The inner loops of the steps' products, as LLVM instructions: sums that stay in vector registers.

A sum begins with what `out` holds and goes on in the order of its terms, one fused multiply-add after the other, so the
bits do not depend on the shape of the tiles. Numbers of `out` and `right` lie row by row, without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

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
            outs, lefts, rights, numbers_of_rows, numbers_of_terms = arrays(context, builder, signature, values)
            count, row, column = values[5:]
            rows_here = [builder.add(row, row.type(r)) for r in range(rows)]
            targets = [outs.vector(columns, r, column) for r in rows_here]
            left_rows_here = [numbers_of_rows.index(r) for r in rows_here]

            def add_term(k: Any, sums: Sequence[Any]) -> list[Any]:
                term = numbers_of_terms.index(k)
                numbers = rights.load(rights.vector(columns, term, column))
                factors = [builder.load(lefts.pointer(r, term)) for r in left_rows_here]
                return [_fused(builder, f, numbers, s) for f, s in zip(factors, sums, strict=True)]

            sums = loop(builder, count.type(0), count, [outs.load(target) for target in targets], add_term)
            for total, target in zip(sums, targets, strict=True):
                outs.store(total, target)
            return context.get_dummy_value()

        return types.void(out, left, right, left_rows, terms, INDEX, INDEX, INDEX), generate

    return add


def sparse_row(columns: int) -> Any:
    """A function for compiled code, `write(out, start, matrix, numbers, factors, begin, end, column)`.

    It writes to `out` what `start` holds and the sum of `factors[k] * matrix[numbers[k]]` for each k from `begin` to
    before `end`, all from `column` on and as many as `columns`, which is fixed.
    """

    @intrinsic
    def write(
        _: Any, out: Any, start: Any, matrix: Any, numbers: Any, factors: Any, begin: Any, end: Any, column: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            outs, starts, rows, row_numbers, row_factors = arrays(context, builder, signature, values)
            begin, end, column = values[5:]

            def add_term(k: Any, sums: Sequence[Any]) -> list[Any]:
                row = row_numbers.index(k)
                factor = builder.load(row_factors.pointer(k))
                return [_fused(builder, factor, rows.load(rows.vector(columns, row, column)), sums[0])]

            first = starts.load(starts.vector(columns, column))
            (total,) = loop(builder, begin, end, [first], add_term)
            outs.store(total, outs.vector(columns, column))
            return context.get_dummy_value()

        return types.void(out, start, matrix, numbers, factors, INDEX, INDEX, INDEX), generate

    return write


class Array:
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


def arrays(context: Any, builder: Any, signature: Any, values: Any) -> list[Array]:
    """The arrays among a call's arguments."""
    pairs = zip(signature.args, values, strict=True)
    return [Array(context, builder, kind, value) for kind, value in pairs if isinstance(kind, types.Array)]


def _fused(builder: Any, factor: Any, numbers: Any, total: Any) -> Any:
    """total + factor * numbers, in each lane."""
    vector = numbers.type
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    name = f"llvm.fma.v{vector.count}f{bits}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return builder.call(fma, [everywhere(builder, factor, vector.count), numbers, total])


def everywhere(builder: Any, number: Any, count: int) -> Any:
    """A vector of `count` times the number."""
    none = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(none, number, LANE(0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(LANE, count), None))


def loop(builder: Any, begin: Any, end: Any, before: Sequence[Any], step: Callable[..., list[Any]]) -> list[Any]:
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
