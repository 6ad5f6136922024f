"""Bad input and damaged files, each told in one line."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, told in one line: the rule, the value, the remedy. Commands exit with 2 on it."""


def require(holds: bool, rule: str, value: object, remedy: str) -> None:
    """Raise `UserError` naming `rule`, the offending `value` and the `remedy`, unless `holds`."""
    if not holds:
        raise UserError(f"`{rule}` must hold, but got {value}: {remedy}")


class Damaged(UserWarning):
    """Says in one line which damaged file was set aside."""
