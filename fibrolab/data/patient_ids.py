"""Patient ids as people and spreadsheets write them: spellings of one id, and ids that were cut."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date

import pandas as pd

from fibrolab.data.fault_sentences import cell_faults, empty_cells
from fibrolab.data.tables import MISSING

_DIGITS = 15  # significant digits that a spreadsheet keeps of a number
_HYPHENS = "\u2010-\u2015\u2212"
_UNSEEN = "\\s\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff"  # blanks, and marks without a width
# Small letters of Cyrillic and Greek that look like Latin ones, small or capital, and these.
_ALIKE = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxijsabezhikmnoptyx",
)
_POWER = re.compile(r"\d([.,]\d+)?[Ee]\+\d+")  # the sign tells it from an id such as 3E12
_ERROR = re.compile(r"#+|#[A-Z0-9/]+[!?]")  # #REF!, and the signs of a number that is wider than its column
_MONTHS = (  # as spreadsheets in English, German and French shorten them
    "Jan|Feb|Mar|Mär|Mrz|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|Dec|Dez|"
    "janv|févr|mars|avr|mai|juin|juil|août|sept|oct|nov|déc"
)
_DATES = (
    re.compile(r"(?P<y>\d{4})([-/.])(?P<m>\d\d?)\2(?P<d>\d\d?)([ T]00:00(:00)?)?"),
    re.compile(r"(?P<d>\d\d?)([-/.])(?P<m>\d\d?)\2(?P<y>\d{4})([ T]00:00(:00)?)?"),
    re.compile(rf"\d\d?\.?[ -]?({_MONTHS})\.?([ -](\d{{2}}|\d{{4}}))?"),
)
_YEARS = range(1900, 2101)
_AS_TEXT = "format the column as text in the spreadsheet, and enter or import the ids again"


def folded(name: str) -> str:
    """Return what an id has in common with its other spellings.

    Without case, blanks, invisible marks, kinds of hyphens, width of letters (Unicode's NFKC), zeros in front
    of a number, and the `.0` of a whole number that was read as a real one: `P-007`, `p-7` and `P - 7` are
    equal, and so are `7`, `007` and `7.0`. Digits behind a decimal point are kept. Letters of Cyrillic and
    Greek count as the Latin ones that look the same, since both are typed where keyboards have two layouts.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold().translate(_ALIKE))
    text = re.sub(f"[{_UNSEEN}]+", "", text)
    text = re.sub(f"[{_HYPHENS}]", "-", text)
    text = re.sub(r"^(\D*\d+)\.0+$", r"\1", text)
    return re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", text)


def cut(ids: pd.Series) -> Iterator[str]:
    """Yield sentences on ids that a spreadsheet has cut or changed: those of several patients may be equal.

    - Numbers as powers of ten, such as `1.23457E+15`: the digits that are not shown are lost.
    - Numbers of 16 and more digits with zeros only beyond the 15th, the last that a spreadsheet keeps. One
      genuine id of 16 digits in ten ends so; therefore more than half of such long ids must.
    - Dates, such as `12-Mar`, which a spreadsheet makes of `3-12`; they are ids if others of the same pattern
      are no dates, such as `2023-05-42`.
    - Error values, such as `#NAME?`.

    Args:
        ids: Text, empty where no patient is known; the index names the rows.
    """
    unique = ids[ids != ""].drop_duplicates()
    letter = "before an id that is right, write a letter"
    for faulty, words in (
        (unique.str.fullmatch(_POWER), f"a number without its last digits: {_AS_TEXT}"),
        (
            _shortened(unique),
            f"a number of which a spreadsheet has kept {_DIGITS} digits: {_AS_TEXT}; {letter}",
        ),
        (_dates(unique), f"a date, which a spreadsheet makes of ids such as 3-12: {_AS_TEXT}"),
        (unique.str.fullmatch(_ERROR), f"the error value of a spreadsheet: {_AS_TEXT}"),
    ):
        if faulty.any():
            yield from _named(ids[ids.isin(unique[faulty])], words)


def missing(ids: pd.Series) -> pd.Series:
    """Return which ids are empty or a word for a missing value, bool (N,)."""
    return ids.isin([name for name in ids.unique() if name == "" or name.casefold() in MISSING])


def words_for_missing(ids: pd.Series) -> Iterator[str]:
    """Yield sentences on words for a missing value among ids; they would be one patient of many samples."""
    words = ids[missing(ids) & (ids != "")]
    yield from _named(
        words, "a word for a missing value: fill in the patient; one who is not known gets an id of its own"
    )


def half_filled(ids: pd.Series) -> Iterator[str]:
    """Yield a sentence on the empty cells of ids of which others are known; none if no patient is known.

    Args:
        ids: Text, empty where no patient is known and no other column groups the sample.
    """
    if (ids != "").any():
        why = (
            "a split could part these images from others of the same patient. Fill the cells (a merged cell "
            "fills its first row only); a patient who is not known gets an id of its own"
        )
        yield from empty_cells(ids, why)


def _named(ids: pd.Series, words: str) -> Iterator[str]:
    yield from cell_faults(str(ids.name), ids, "is", words)


def _shortened(ids: pd.Series) -> pd.Series:
    """Return which ids are long numbers that end in zeros, if more than half of the long numbers do."""
    long = ids.str.fullmatch(rf"\d{{{_DIGITS + 1},}}")
    zeros = ids.str.fullmatch(rf"\d{{{_DIGITS}}}0+")
    return zeros & (2 * zeros.sum() > long.sum())


def _dates(ids: pd.Series) -> pd.Series:
    """Return which ids are dates, and not numbers of a pattern that also makes impossible dates."""
    are = ids.map(_is_date).astype(bool)
    if not are.any():
        return are
    pattern = ids.map(_pattern)
    return are & ~pattern.isin(set(pattern[~are]))


def _pattern(name: str) -> str:
    """Return an id with `9` for each digit and `A` for each letter."""
    return re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", name))


def _is_date(name: str) -> bool:
    if not (found := next((match for form in _DATES if (match := form.fullmatch(name))), None)):
        return False
    if "y" not in found.re.groupindex:
        return True
    year, month, day = (int(found[part]) for part in "ymd")
    return year in _YEARS and any(_exists(year, *order) for order in ((month, day), (day, month)))


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
