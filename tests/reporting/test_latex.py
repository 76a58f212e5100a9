import re

import fake_run
import fake_tables
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.reporting import run_page
from fibrolab.reporting.tables import latex, table_files
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, line
from fibrolab.runs import trained_run as runs

EVIL = r"<b>&\input{x} 50%_$#~^{}|[1]*"
INTERVAL = "[66.0, 83.1]"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    fake_tables.write(folder, pd.read_csv(folder / "metrics.csv", index_col=0), fake_run.CLASSES)
    written = table_files.write(run_page.tables(runs.read(folder)), folder)
    return [path.read_text() for path in written if path.suffix == ".tex"]


def sheet(
    *cells: str | Cell,
    caption: str = "Caption.",
    notes: tuple[tuple[str, str], ...] = (),
    title: str = "Value",
) -> Sheet:
    columns = [Column("Name", number=False), *(Column(title) for _ in cells[1:])]
    return Sheet("a table", caption, columns, [line(*cells)], notes=notes)


def rows(text: str) -> list[str]:
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [row.strip() for row in body.splitlines() if row.strip() and "addlinespace" not in row]


def test_every_line_has_as_many_cells_as_there_are_columns(texts: list[str]) -> None:
    assert len(texts) > 10
    for text in texts:
        (columns,) = re.findall(r"\\begin\{tabular\}\{(?:p\{9em\})?([lr]*)\}", text)
        count = len(columns) + ("p{9em}" in text)
        assert len(rows(text)) > 1
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows(text)} == {count}
        assert all(row.endswith(r" \\") for row in rows(text))


def test_every_table_is_balanced_and_ascii(texts: list[str]) -> None:
    for text in texts:
        assert text.isascii()
        plain = re.sub(r"\\\\|\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        opened, closed = (re.findall(rf"\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
        assert sorted(opened) == sorted(closed)
        assert (opened[0], opened[1]) == (closed[-1], "tabular")
        assert text.count(r"\caption{") == text.count(r"\label{tab:") == 1


def test_a_table_names_exactly_the_packages_that_it_needs(texts: list[str]) -> None:
    for text in texts:
        turned = r"\begin{sidewaystable}" in text
        assert text.startswith(f"% Needs \\usepackage{{booktabs{',rotating' if turned else ''}}}")
        assert turned != (r"\begin{table}" in text)


def test_latex_commands_in_names_are_escaped() -> None:
    text = latex.table(sheet(EVIL, EVIL, caption=EVIL, notes=(("a", EVIL),)))
    assert r"\input" not in text
    assert text.count(r"\textbackslash{}input\{x\} 50\%\_\$\#\textasciitilde{}") == 4
    assert r"\textasciicircum{}\{\}$|$" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("86.4\u00a0%", r"86.4~\%"),
        ("\u2212.012", "$-$.012"),
        ("54 \u00b1 3", r"54 $\pm$ 3"),
        ("\u2265 90", r"$\geq$ 90"),
        ("41\u201363", "41--63"),
        ("<\u00a0.001", "$<$~.001"),
        ("in \u00b5kat/L", r"in $\mu$kat/L"),
        ("two\n  lines", "two lines"),
    ],
)
def test_unicode_signs_become_commands(text: str, expected: str) -> None:
    assert latex.escaped(text) == expected


def test_a_name_in_brackets_is_not_an_argument_of_the_previous_line() -> None:
    assert rows(latex.table(sheet("[x]", "*"))) == [r"{}[x] & * \\"]
    assert r"\shortstack[r]{Stiffness of \\{}[kPa]}" in latex.table(
        sheet("a", "1", title="Stiffness of [kPa]")
    )


def test_an_interval_is_below_its_value_and_notes_below_the_table() -> None:
    value = Cell("75.5\u00a0%", INTERVAL, "a")
    text = latex.table(sheet(Cell("F0", "one half"), value, notes=(("a", "Wilson."), ("", "All."))))
    assert rows(text) == [r"{}F0 & 75.5~\%\textsuperscript{a} \\", rf"{{}}one half & {INTERVAL} \\"]
    assert (
        text.index(r"\end{tabular}") < text.index(r"\textsuperscript{a}Wilson.\par") < text.index(r"All.\par")
    )


def test_a_text_below_a_name_only_is_set_beside_it() -> None:
    assert rows(latex.table(sheet(Cell("Age", "median (IQR)"), "54"))) == [r"{}Age, median (IQR) & 54 \\"]


@pytest.mark.parametrize(
    ("columns", "name", "size", "kind"),
    [
        (5, "F0", "small", "table"),
        (6, "F0", "footnotesize", "table"),
        (6, "All, mean", "scriptsize", "table"),
        (7, "F0", "scriptsize", "sidewaystable"),
    ],
)
def test_the_font_shrinks_until_the_table_fits_and_then_it_is_rotated(
    columns: int, name: str, size: str, kind: str
) -> None:
    text = latex.table(sheet(name, *([Cell("75.5", INTERVAL)] * columns)))
    assert f"\\{size}\\setlength" in text
    assert f"\\begin{{{kind}}}" in text


def test_a_long_name_is_wrapped_if_that_keeps_the_table_upright() -> None:
    cells = [Cell("75.5", INTERVAL)] * 4
    text = latex.table(sheet("Mean absolute error, counted in classes of the task", *cells))
    assert r"\begin{tabular}{p{9em}rrrr}" in text
    assert r"\begin{table}" in text
    above, below = rows(text)
    assert above.startswith(r"{}\raggedright Mean absolute & 75.5")
    assert below.startswith(r"{}\raggedright error, counted in classes of the task & [66.0")


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_in_a_cell_keeps_the_shape_of_the_table(text: str) -> None:
    (row,) = rows(latex.table(sheet(text, "1")))
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert not re.search(r"(?<!\\)[#%]", row)
