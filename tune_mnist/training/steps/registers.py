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
    """A function for compiled code, `add(out, left, right, row, column)`, with `rows` and `columns` fixed.

    It adds to `out[row : row + rows, column : column + columns]` what the product of the matrices left (…, depth) and
    right (depth, …) has there.
    """

    @intrinsic
    def add(_: Any, out: Any, left: Any, right: Any, row: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            outs, lefts, rights = _arrays(context, builder, signature, values)
            row, column = values[3:]
            rows_here = [builder.add(row, row.type(r)) for r in range(rows)]
            targets = [outs.vector(columns, r, column) for r in rows_here]

            def add_term(k: Any, sums: Sequence[Any]) -> list[Any]:
                numbers = rights.load(rights.vector(columns, k, column))
                factors = [builder.load(lefts.pointer(r, k)) for r in rows_here]
                return [_fused(builder, f, numbers, s) for f, s in zip(factors, sums, strict=True)]

            depth = cgutils.unpack_tuple(builder, lefts.array.shape)[1]
            sums = _loop(builder, depth.type(0), depth, [outs.load(target) for target in targets], add_term)
            for total, target in zip(sums, targets, strict=True):
                outs.store(total, target)
            return context.get_dummy_value()

        return types.void(out, left, right, INDEX, INDEX), generate

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
                row = builder.zext(builder.load(row_numbers.pointer(k)), k.type)
                factor = builder.load(row_factors.pointer(k))
                return [_fused(builder, factor, rows.load(rows.vector(columns, row, column)), sums[0])]

            (total,) = _loop(builder, begin, end, [outs.load(target)], add_term)
            outs.store(total, target)
            return context.get_dummy_value()

        return types.void(out, matrix, numbers, factors, INDEX, INDEX, INDEX), generate

    return add


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
    none = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(none, factor, LANE(0))
    everywhere = builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(LANE, vector.count), None))
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    name = f"llvm.fma.v{vector.count}f{bits}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
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
