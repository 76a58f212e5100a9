import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fibrolab.data.box import Box
from fibrolab.phantom import lesions, patient

SIZE = 160
PATIENTS = range(12)


def draw(lesion_class: str, number: int, size: int | tuple[int, int] = SIZE) -> tuple[np.ndarray, Box]:
    person = patient.patient(0, number, 1.0)
    return lesions.picture(lesion_class, person.body, person.exam, size, np.random.default_rng([number, 5]))


def core(pixels: np.ndarray, box: Box) -> np.ndarray:
    height, width = box.height // 4, box.width // 4
    return pixels[
        box.top + height : box.top + box.height - height, box.left + width : box.left + box.width - width
    ]


def surroundings(pixels: np.ndarray, box: Box, reach: int = 6) -> np.ndarray:
    around = np.zeros(pixels.shape, bool)
    around[
        max(0, box.top - reach) : box.top + box.height + reach,
        max(0, box.left - reach) : box.left + box.width + reach,
    ] = True
    around[box.top : box.top + box.height, box.left : box.left + box.width] = False
    return pixels[around & (gaussian_filter(pixels.astype(np.float32), 3) > 20)]  # neither fluid nor outside


def contrasts(lesion_class: str) -> np.ndarray:
    drawn = [draw(lesion_class, number) for number in PATIENTS]
    return np.array([core(*one).mean() / surroundings(*one).mean() for one in drawn])


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(lesions.CLASSES),
    st.integers(0, 10**6),
    st.one_of(st.integers(32, 160), st.tuples(st.integers(32, 160), st.integers(32, 160))),
)
def test_lesions_are_deterministic_and_their_rectangles_are_in_the_image(
    lesion_class: str, number: int, size: int | tuple[int, int]
) -> None:
    pixels, box = draw(lesion_class, number, size)
    assert pixels.shape == ((size, size) if isinstance(size, int) else size)
    assert pixels.dtype == np.uint8
    assert 0 <= box.left < box.left + box.width <= pixels.shape[1]
    assert 0 <= box.top < box.top + box.height <= pixels.shape[0]
    assert min(box.width, box.height) >= 1
    again, same_box = draw(lesion_class, number, size)
    assert box == same_box
    assert np.array_equal(pixels, again)


@pytest.mark.parametrize("lesion_class", lesions.CLASSES)
def test_rectangles_contain_parenchyma_within_the_sector(lesion_class: str) -> None:
    for number in PATIENTS:
        pixels, box = draw(lesion_class, number)
        rim = pixels[box.top : box.top + box.height, box.left : box.left + box.width].astype(float)
        rim[1:-1, 1:-1] = np.nan
        assert np.mean(rim[~np.isnan(rim)] > 0) > 0.7
        assert min(box.width, box.height) >= 10
        assert max(box.width, box.height) <= SIZE / 3


def test_plain_parenchyma_looks_like_its_surroundings() -> None:
    assert np.median(contrasts("non_FLL")) == pytest.approx(1, abs=0.1)


def test_a_cyst_is_black_and_the_liver_behind_it_bright() -> None:
    dark = contrasts("cyst")
    assert np.median(dark) < 0.35
    assert dark.max() < 0.75  # beams are wider than the smallest cysts
    gains = []
    for number in PATIENTS:
        pixels, box = draw("cyst", number)
        behind = pixels[box.top + box.height : box.top + box.height + 12]
        middle = box.left + box.width // 2
        beside = np.hstack([behind[:, box.left - 8 : box.left], behind[:, box.left + box.width :][:, :8]])
        gains.append(behind[:, middle - 2 : middle + 3].mean() / beside.mean())
    assert np.median(gains) > 1.1


def test_sparing_is_darker_than_the_fat_around_it() -> None:
    dark = contrasts("FFS")
    assert np.median(dark) < 0.85
    assert dark.min() > 0.4  # but it is liver, not fluid


def test_a_haemangioma_is_brighter_than_the_liver_around_it() -> None:
    assert contrasts("haemangioma").min() > 1.1


def test_a_carcinoma_is_more_varied_than_a_haemangioma() -> None:
    def variety(lesion_class: str) -> float:
        drawn = (draw(lesion_class, number) for number in PATIENTS)
        smooth = [core(gaussian_filter(pixels.astype(np.float32), 1.5), box) for pixels, box in drawn]
        return float(np.median([part.std() / part.mean() for part in smooth]))

    assert variety("HCC") > 1.25 * variety("haemangioma")


def test_the_size_of_a_rectangle_does_not_depend_on_its_class() -> None:
    areas = [
        [box.width * box.height for _, box in (draw(name, n) for n in PATIENTS)] for name in lesions.CLASSES
    ]
    medians = [np.median(one) for one in areas]
    assert max(medians) < 1.8 * min(medians)
    assert max(map(min, areas)) < min(map(max, areas))


def test_an_unknown_lesion_class_is_refused() -> None:
    with pytest.raises(KeyError, match="metastasis"):
        draw("metastasis", 0)
