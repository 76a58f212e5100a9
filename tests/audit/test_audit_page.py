import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from chromium import chromium, visit
from fake_audit import CLASSES, audit, write
from matplotlib.figure import Figure
from PIL import Image

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.reporting import audit_page, run_sentences
from fibrolab.reporting.figures import audit as audit_figures
from fibrolab.reporting.figures import style
from fibrolab.reporting.tables import audit as audit_tables
from fibrolab.reporting.tables import sheet as sheets

EVIL = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("audit"), audit())


def written(folder: Path, found: dict[str, Any]) -> Path:
    write(folder, found)
    audit_figures.draw(found, folder, pictures(found))
    audit_page.write(folder)
    return folder


def pictures(found: dict[str, Any]) -> list[list[np.ndarray]]:
    return [
        [np.full((24, 32), 9 * k, np.uint8) for k in range(len(each["samples"]))]
        for each in found["clusters"]
    ]


def texts(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_the_page_opens_in_a_browser_without_errors_or_requests(folder: Path, browser: Any) -> None:
    opened = visit(browser, folder / keys.AUDIT_PAGE)
    assert opened.complaints == []
    assert sum(not url.startswith("data:") for url in opened.requests) == 1  # the page itself
    widths = opened.page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) == 2
    assert min(widths) > 0


@pytest.mark.parametrize("width", [390, 1280])
def test_no_element_overflows_and_captions_stay_visible(folder: Path, browser: Any, width: int) -> None:
    sheet = visit(browser, folder / keys.AUDIT_PAGE, width).page
    assert sheet.evaluate("document.documentElement.scrollWidth") == width
    for caption in sheet.locator("caption > span").all():
        box = caption.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_every_table_fits_on_paper(folder: Path, browser: Any) -> None:
    sheet = visit(browser, folder / keys.AUDIT_PAGE, 680).page  # A4 within its margins [CSS pixels]
    sheet.emulate_media(media="print")
    assert sheet.evaluate("document.documentElement.scrollWidth") <= 680


def test_the_page_has_one_title_and_names_every_figure_and_table(folder: Path, browser: Any) -> None:
    sheet = visit(browser, folder / keys.AUDIT_PAGE).page
    assert sheet.locator("h1").count() == 1
    assert sheet.locator("img:not([alt]), img[alt='']").count() == 0
    assert sheet.locator("th:not([scope])").count() == 0
    assert sheet.locator("table").count() == sheet.locator("table > caption").count() == 9
    assert (
        sheet.locator(".scroll:not([tabindex])").count() == 0
    )  # scrollable parts can be reached by keyboard


@pytest.mark.parametrize("verdict", ["ok", "warning", "fail"])
def test_the_verdict_comes_first_in_words_and_a_sign(tmp_path: Path, browser: Any, verdict: str) -> None:
    sheet = visit(browser, written(tmp_path, audit(verdict=verdict)) / keys.AUDIT_PAGE).page
    said = run_sentences.VERDICT_TEXTS[verdict]
    assert sheet.locator("h2").first.inner_text().replace("\n", "") == f"{said.sign}Audit {said.word}"
    assert sheet.locator("main > :first-child").inner_text().endswith(f"Recommendation: {said.advice}")


def test_text_has_enough_contrast(browser: Any, tmp_path: Path) -> None:
    for verdict in run_sentences.VERDICT_TEXTS:
        sheet = visit(browser, written(tmp_path, audit(verdict=verdict)) / keys.AUDIT_PAGE).page
        for selector in (".judgement h2", ".judgement p", ".level h3", ".level small", "caption"):
            colours = sheet.locator(selector).first.evaluate(
                "element => { const ink = getComputedStyle(element).color;"
                "  const ground = () => getComputedStyle(element).backgroundColor;"
                "  while (ground() == 'rgba(0, 0, 0, 0)') element = element.parentElement;"
                "  return [ink, ground()] }"
            )
            assert contrast(*colours) >= 4.5, selector  # WCAG 2.1, level AA


def contrast(*colours: str) -> float:
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = np.array([int(part) for part in colour[4:-1].split(",")]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_findings_are_sorted_by_severity_with_advice() -> None:
    levels = audit_page.levels(audit())
    assert [(level.name, len(level.findings)) for level in levels] == [
        ("fail", 1),
        ("warning", 1),
        ("note", 1),
    ]
    assert levels[0].findings[0][1] == audit_page.ADVICE["exact_leak"]


def test_every_finding_that_affects_the_verdict_has_advice() -> None:
    from fibrolab.data import audit as engine

    source = "\n".join(path.read_text() for path in Path(engine.__file__).parent.glob("*.py"))
    harmful = set(re.findall(r'Finding\(\s*"(\w+)",\s*"(?:fail|warning)"', source))
    assert len(harmful) > 10
    assert set(audit_page.ADVICE) == harmful | {"size_baseline", "acquisition_baseline"}


def test_names_are_shown_as_text_and_never_executed(tmp_path: Path, browser: Any) -> None:
    found = json.loads(json.dumps(audit()).replace('"F0', json.dumps(EVIL)[:-1]))
    found |= {"name": EVIL, "left_out": [EVIL], "implausible": [EVIL], "identity": {EVIL: 1}}
    found["findings"][0]["sentence"] = EVIL
    found["label_order"][0]["series"] = EVIL
    opened = visit(browser, written(tmp_path, found) / keys.AUDIT_PAGE)
    assert opened.page.locator("h1").inner_text() == EVIL
    assert opened.page.locator("script").count() == 0
    assert opened.complaints == []


def test_a_folder_without_an_audit_is_reported(tmp_path: Path) -> None:
    text = audit_page.write(tmp_path).read_text()
    for name in (
        "Verdict",
        "Counts",
        "Baselines",
        "Leakage of this and of a random split",
        "Copies",
        "Command",
    ):
        assert f"{name}: not recorded." in text


@pytest.mark.parametrize("missing", sorted(audit()))
def test_each_part_may_be_missing(tmp_path: Path, missing: str) -> None:
    found = audit()
    del found[missing]
    write(tmp_path, found)
    audit_figures.draw(found, tmp_path)
    assert ">Baselines</h2>" in audit_page.write(tmp_path).read_text()


def test_an_audit_of_an_earlier_version_is_shown_with_its_parts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "verdict": "warning",
            "warnings": ["1 unreadable file was left out."],
            "baselines": {"majority": 0.334, "hash_lookup": 0.412},
            "leak": {"exact": 0.0, "near": 0.02, "groups": 0},
        },
    )
    text = audit_page.write(tmp_path).read_text()
    assert "1 unreadable file was left out." in text
    assert "<strong>41.2\u00a0%</strong>" in text
    assert "2.0\u00a0%" in text


def test_a_damaged_audit_is_reported(tmp_path: Path) -> None:
    (tmp_path / keys.AUDIT_FILE).write_text("{broken")
    assert "audit.json is there but could not be read" in audit_page.write(tmp_path).read_text()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a run's folder"):
        audit_page.write(tmp_path / "nowhere")


def test_the_highest_baseline_of_this_split_is_the_number_to_beat() -> None:
    name, baseline = audit_tables.highest(audit())
    assert (name, baseline.cell) == ("nearest neighbour", sheets.Cell("63.6\u00a0%", "[58.0, 70.0]"))
    table = audit_tables.baselines(audit())
    assert [line.cells[0].text for line in table.lines if line.strong] == ["Nearest neighbour"]
    assert all(len(line.cells) == len(table.columns) for line in table.lines)


def test_all_tables_have_a_cell_for_every_column() -> None:
    makers = (audit_tables.leak, audit_tables.copies, audit_tables.clusters, audit_tables.confounding)
    makers += (audit_tables.order, audit_tables.skipped, audit_tables.hygiene, audit_tables.partitions)
    for make in makers:
        table = make(audit())
        assert table.lines
        assert {len(line.cells) for line in table.lines} == {len(table.columns)}


def test_checks_without_findings_are_stated_in_words(tmp_path: Path) -> None:
    write(tmp_path, audit(confounding={}, label_order=[]))
    text = audit_page.write(tmp_path).read_text()
    assert audit_tables.confounding({"confounding": {}}).empty in text
    assert audit_tables.order({"label_order": []}).empty in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0301, ".03"), (0.0042, ".004"), (1e-9, "<\u00a0.001"), (0.999, ">\u00a0.99"), (None, "–")],
)
def test_p_values_read_as_in_a_journal(value: float | None, text: str) -> None:
    assert sheets.probability(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.414, ".41"), (1.0, "1.00"), (None, "–")])
def test_coefficients_have_no_leading_zero(value: float | None, text: str) -> None:
    assert sheets.coefficient(value) == text


def test_a_long_file_name_keeps_both_ends() -> None:
    name = "hospital_north/patient_0017/visit_2/image_003.png"
    short = style.shortened(name, audit_figures.LETTERS)
    assert len(short) == audit_figures.LETTERS
    assert short.startswith("hospital")
    assert short.endswith("_003.png")
    assert style.shortened("F0/a1.jpg", audit_figures.LETTERS) == "F0/a1.jpg"


def test_the_contact_sheet_shows_label_partition_and_name_of_each_sample() -> None:
    grey, colour = np.zeros((20, 40), np.uint8), np.zeros((40, 20, 3), np.uint8)
    sheet = audit_figures.clusters([[grey, colour]], ["1. near"], [["F0, train\na.png", "F2, test\nb.png"]])
    assert sorted(texts(sheet)) == ["1. near", "F0, train", "F2, test", "a.png", "b.png"]
    assert len(sheet.axes) == 2


def test_the_contact_sheet_is_bounded() -> None:
    image = np.zeros((8, 8), np.uint8)
    sheet = audit_figures.clusters([[image] * 20] * 20, ["x"] * 20, [["a\nb"] * 20] * 20)
    assert len(sheet.axes) == audit_figures.ROWS * audit_figures.COLUMNS
    assert sheet.get_figheight() <= 10.3  # inches, an A4 page


def test_the_figure_of_baselines_names_rules_and_protocols() -> None:
    shown = texts(audit_figures.baselines(audit_tables.protocol_baselines(audit())))
    assert {"nearest neighbour", "majority class", "this split", "groups kept together"} <= set(shown)


def test_drawing_writes_what_the_audit_allows(tmp_path: Path) -> None:
    assert audit_figures.draw({}, tmp_path) == []
    assert [path.name for path in audit_figures.draw(audit(), tmp_path)] == ["audit_baselines.png"]
    drawn = audit_figures.draw(audit(), tmp_path, pictures(audit()))
    assert [path.name for path in drawn] == ["audit_baselines.png", "audit_clusters.png"]
    audit_figures.draw(audit(), tmp_path)  # without copies
    assert not drawn[1].exists()
    audit_figures.draw(audit(), tmp_path, pictures(audit()))
    with Image.open(drawn[1]) as sheet:
        assert sheet.width == round(audit_figures.WIDTH * style.DPI)


def test_classes_are_listed_in_their_order_with_totals() -> None:
    table = audit_tables.partitions(audit())
    assert [line.cells[0].text for line in table.lines] == [*CLASSES, "All"]
    assert table.lines[-1].cells[-1].text == "6,323"
