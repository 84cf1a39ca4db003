"""Checks that a table read from a file, which may be another person's, has the columns of a type of row."""

from __future__ import annotations

import types
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints

import numpy as np

from sparring.errors import InputError


def check_columns(table: Any, row: type, *, where: str, fix: str) -> None:
    """Checks that a table of pyarrow has the columns of a row, of the right types; it may have others.

    Args:
        table: The table.
        row: A TypedDict of integers, floats, texts, booleans, arrays, and lists of them; values may be None.
        where: The file that the table was read from.
        fix: What to do if the table does not fit.

    Raises:
        InputError: A column is missing, is of another type, or lacks values.
    """
    for name, hint in get_type_hints(row, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        # If only some rows have this column, the table holds a null for the others.
        wanted = (*_members(get_args(hint)[0]), types.NoneType) if optional else _members(hint)
        count = table.column_names.count(name)
        if count == 0 and optional:
            continue
        if count != 1:
            problem = f"the column '{name}' is missing" if count == 0 else f"there are {count} columns '{name}'"
            raise InputError(problem, where=where, fix=fix)
        column = table.column(name)
        if types.NoneType not in wanted and column.null_count:
            raise InputError(f"the column '{name}' lacks values", where=where, fix=fix)
        if not any(_fits(column.type, each) for each in wanted):
            raise InputError(f"the column '{name}' has the type {column.type}", where=where, fix=fix)


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _fits(found: Any, hint: Any) -> bool:
    """Whether values of a type of pyarrow are of a type of Python."""
    from pyarrow import types as arrow

    if hint is types.NoneType:
        return bool(arrow.is_null(found))
    if hint is np.ndarray or get_origin(hint) is list:
        if not (arrow.is_list(found) or arrow.is_large_list(found)):
            return False
        inner = (float,) if hint is np.ndarray else _members(get_args(hint)[0])
        # pyarrow knows no type for lists that are all empty.
        return arrow.is_null(found.value_type) or any(_fits(found.value_type, each) for each in inner)
    checks: dict[Any, tuple[Any, ...]] = {
        bool: (arrow.is_boolean,),
        int: (arrow.is_integer,),
        float: (arrow.is_floating, arrow.is_integer),
        str: (arrow.is_string, arrow.is_large_string),
    }
    return any(check(found) for check in checks[hint])
