"""Sums of rows held in vector registers: the inner loops of the steps' products, as LLVM instructions.

Each takes C-contiguous arrays and, for each, the place of its first number (`..._at`) and the distances between
rows (`..._row`) and columns, all in numbers. Sums begin with what is there and go on in the order of the terms, one
fused product after the other, so the bits do not depend on the shape of the tiles.
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
    """An intrinsic for numba: add the product of `left` (rows, depth) and `right` (depth, columns) to a tile."""

    @intrinsic
    def add_product(
        _: Any, total: Any, at: Any, row: Any, left: Any, left_at: Any, left_row: Any, left_column: Any,
        right: Any, right_at: Any, right_row: Any, depth: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            _, at, row, _, left_at, left_row, left_column, _, right_at, right_row, depth = values
            number = context.get_value_type(total.dtype)
            vector = ir.VectorType(number, columns)
            arrays = ((0, total), (3, left), (7, right))
            totals, lefts, rights = (_data(context, builder, kind, values[i]) for i, kind in arrays)
            ends = [_vector(builder, totals, _place(builder, at, row, r), vector) for r in range(rows)]
            begins = [builder.gep(lefts, [_place(builder, left_at, left_row, r)]) for r in range(rows)]

            def add(k: Any, sums: Sequence[Any]) -> list[Any]:
                place = builder.add(right_at, builder.mul(k, right_row))
                numbers = builder.load(_vector(builder, rights, place, vector), align=_align(number))
                column = builder.mul(k, left_column)
                factors = [builder.load(builder.gep(begin, [column])) for begin in begins]
                return [_fused(builder, f, numbers, s) for f, s in zip(factors, sums, strict=True)]

            before = [builder.load(end, align=_align(number)) for end in ends]
            for after, end in zip(_loop(builder, depth.type(0), depth, before, add), ends, strict=True):
                builder.store(after, end, align=_align(number))
            return context.get_dummy_value()

        places = (INDEX, INDEX)
        return types.void(total, *places, left, *places, INDEX, right, *places, INDEX), generate

    return add_product


def sparse_row(columns: int) -> Any:
    """An intrinsic for numba: add rows `numbers[begin:end]` of a matrix, each times its of `factors`, to one row."""

    @intrinsic
    def add_rows(
        _: Any, total: Any, at: Any, matrix: Any, matrix_at: Any, matrix_row: Any, numbers: Any, factors: Any,
        begin: Any, end: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            _, at, _, matrix_at, matrix_row, _, _, begin, end = values
            number = context.get_value_type(total.dtype)
            vector = ir.VectorType(number, columns)
            arrays = ((0, total), (2, matrix), (5, numbers), (6, factors))
            totals, rows, which, factor = (_data(context, builder, kind, values[i]) for i, kind in arrays)
            target = _vector(builder, totals, at, vector)

            def add(k: Any, sums: Sequence[Any]) -> list[Any]:
                row = builder.zext(builder.load(builder.gep(which, [k])), k.type)
                place = builder.add(matrix_at, builder.mul(row, matrix_row))
                row_numbers = builder.load(_vector(builder, rows, place, vector), align=_align(number))
                return [_fused(builder, builder.load(builder.gep(factor, [k])), row_numbers, sums[0])]

            before = [builder.load(target, align=_align(number))]
            (after,) = _loop(builder, begin, end, before, add)
            builder.store(after, target, align=_align(number))
            return context.get_dummy_value()

        return types.void(total, INDEX, matrix, INDEX, INDEX, numbers, factors, INDEX, INDEX), generate

    return add_rows


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """A pointer to an array's first number."""
    return context.make_array(kind)(context, builder, array).data


def _align(number: Any) -> int:
    """The bytes that arrays of such numbers are aligned to."""
    return 4 if isinstance(number, ir.FloatType) else 8


def _place(builder: Any, at: Any, row: Any, number: int) -> Any:
    return builder.add(at, builder.mul(row, row.type(number)))


def _vector(builder: Any, numbers: Any, place: Any, vector: Any) -> Any:
    """A pointer to the vector that begins at `place`."""
    return builder.bitcast(builder.gep(numbers, [place]), vector.as_pointer())


def _fused(builder: Any, factor: Any, numbers: Any, total: Any) -> Any:
    """total + factor * numbers, in each lane."""
    none = ir.Constant(numbers.type, ir.Undefined)
    first = builder.insert_element(none, factor, LANE(0))
    everywhere = builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(LANE, numbers.type.count), None))
    name = f"llvm.fma.v{numbers.type.count}f{8 * _align(numbers.type.element)}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(numbers.type, [numbers.type] * 3), name)
    return builder.call(fma, [everywhere, numbers, total])


def _loop(builder: Any, begin: Any, end: Any, before: Sequence[Any], step: Callable[..., list[Any]]) -> list[Any]:
    """The values after `step(k, values)` for each k from `begin` to before `end`, kept in registers."""
    entry, body, done = builder.block, builder.append_basic_block("body"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", begin, end), body, done)
    builder.position_at_end(body)
    k, values = builder.phi(begin.type), [builder.phi(value.type) for value in before]
    after = step(k, values)
    following = builder.add(k, k.type(1))
    for phi, first, next_one in zip([k, *values], [begin, *before], [following, *after], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(next_one, body)
    builder.cbranch(builder.icmp_signed("<", following, end), body, done)
    builder.position_at_end(done)
    results = [builder.phi(value.type) for value in before]
    for phi, first, last in zip(results, before, after, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(last, body)
    return results
