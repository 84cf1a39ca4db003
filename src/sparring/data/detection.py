"""The format that the columns of a file fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sparring.data.formats import FORMATS, MESSAGE_KEYS, PROMPT_ONLY, Format
from sparring.data.guesses import columns_setting, example_mapping
from sparring.errors import InputError


def detect(columns: Collection[str], mapping: Mapping[str, str], *, where: str, lacking: InputError | None) -> str:
    """The name of the format that fits the columns and reads more of them than any other that fits.

    Args:
        columns: The file's column names.
        mapping: Our field name to the file's column name; a format without a mapped field does not fit.
        where: The file, for the error.
        lacking: What rows with nothing but a prompt lack, and the fix; None where such rows are of use.

    Raises:
        InputError: The columns fit no format or several, or hold nothing but prompts where these are of no use.
    """
    ours, mapped = set(columns) | set(mapping), mapping.keys() - MESSAGE_KEYS
    suiting = {name: item for name, item in FORMATS.items() if mapped <= item.known}
    fitting = {name: item for name, item in suiting.items() if ours.issuperset(item.fields)}
    if fitting.keys() <= {PROMPT_ONLY}:
        # Other usual names of columns are tried only if the formats' own names fit nothing.
        usual = {name for name, item in suiting.items() if {*ours, *item.mapping(columns, mapping)} >= {*item.fields}}
        fitting = {name: item for name, item in suiting.items() if name in usual}
    # A format with more than a prompt comes before the one with a prompt alone.
    prompts_fit = fitting.pop(PROMPT_ONLY, None) is not None
    whole = [name for name, item in fitting.items() if not _part_of_another(item, fitting.values())]
    if len(whole) == 1:
        return whole[0]
    if prompts_fit and not whole and lacking is None:
        return PROMPT_ONLY
    found = ", ".join(sorted(columns)) or "none"
    if whole:
        problem = f"the columns ({found}) fit several formats: {', '.join(whole)}"
        fix = "choose one with data.format; rows of several formats go into a file each, named in data.sources"
        raise InputError(problem, where=where, fix=fix)
    likely = example_mapping(columns, mapping)
    if prompts_fit and lacking is not None:
        trial = f"map a column with data.columns, e.g. {columns_setting(likely)}; or " if likely != mapping else ""
        problem = f"{lacking.problem}; the rows hold prompts alone (columns: {found})"
        raise InputError(problem, where=where, fix=f"{trial}{lacking.fix}")
    needs = "; ".join(f"{name}: {' + '.join(item.fields)}" for name, item in FORMATS.items())
    setting = columns_setting(likely or {"prompt": "question", "response": "answer"})
    fix = f"map them with data.columns, e.g. {setting}. The formats need {needs}"
    raise InputError(f"the columns ({found}) fit no format", where=where, fix=fix)


def _part_of_another(item: Format, others: Collection[Format]) -> bool:
    return any(set(item.fields) < other.known for other in others if other is not item)
