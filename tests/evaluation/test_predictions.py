from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fibrolab.errors import DataError, StorageError
from fibrolab.evaluation import predictions

HEADER = "sample_id,group_id,patient_id,site,partition,fold,y_true,p_0,p_1,p_2"


def predicted(n=4, seed=0):
    rng = np.random.default_rng(seed)
    columns = {f"p_{k}": column for k, column in enumerate(rng.dirichlet(np.ones(3), n).T)}
    return pd.DataFrame(
        {
            "sample_id": [f"{i:03d}" for i in range(n)],
            "group_id": ["007"] * n,
            "patient_id": [None, "NA", "1e5", "nan"][:n] + [""] * (n - 4),
            "site": np.nan,
            "partition": ["validation", "test"] * (n // 2) + ["test"] * (n % 2),
            "fold": 0,
            "y_true": rng.integers(3, size=n),
            **columns,
        }
    )


def file_of(folder, *rows, header=HEADER):
    path = folder / "predictions.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_texts_that_look_like_numbers_or_gaps_stay_texts(tmp_path):
    predictions.write(predicted(), tmp_path / "predictions.csv")
    frame = predictions.read(tmp_path / "predictions.csv")
    assert frame["sample_id"].tolist() == ["000", "001", "002", "003"]
    assert frame["group_id"].tolist() == ["007"] * 4
    assert frame["patient_id"].tolist() == ["", "NA", "1e5", "nan"]
    assert frame["site"].tolist() == [""] * 4
    assert (frame["fold"].dtype, frame["y_true"].dtype) == (np.int64, np.int64)


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=2, unique=True
    ),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_written_predictions_are_read_back_bit_for_bit(tmp_path_factory, ids, seed, dtype):
    frame = predicted(4, seed).iloc[[0, 1]].assign(sample_id=ids[:2], site=["Zürich, CH", 'a "b"\n c'])
    frame = frame.astype({f"p_{k}": dtype for k in range(3)})
    path = tmp_path_factory.mktemp("round") / "predictions.csv"
    predictions.write(frame, path)
    back = predictions.read(path)
    np.testing.assert_array_equal(predictions.probabilities(back), predictions.probabilities(frame))
    for column in ("sample_id", "site", "partition", "fold", "y_true"):
        assert back[column].tolist() == frame[column].tolist()


def test_every_fault_is_listed_with_its_row(tmp_path):
    path = file_of(
        tmp_path,
        "a,g,,,test,0,1,0.2,0.3,0.5",
        "b,g,,,test,0,1,nan,0.5,0.5",
        "c,g,,,test,0,1,inf,0.5,0.5",
        "d,g,,,test,0,1,-0.1,0.6,0.5",
        "e,g,,,test,0,1,0.2,0.3,0.4",
        "f,g,,,test,0,3,0.2,0.3,0.5",
        "g,g,,,exam,0,1,0.2,0.3,0.5",
        "a,g,,,test,0,1,0.2,0.3,0.5",
        ",,,,test,0.5,F1,0.2,much,0.5",
    )
    with pytest.raises(DataError) as caught:
        predictions.read(path)
    expected = [
        "12 fault(s)",
        "row 2 (sample 'b'): p_0 'nan' is not a probability",
        "row 3 (sample 'c'): p_0 'inf' is not a probability",
        "row 4 (sample 'd'): p_0 '-0.1' is not a probability",
        "row 5 (sample 'e'): probabilities sum to 0.9, not 1",
        "row 6 (sample 'f'): y_true '3' is not a class 0..2",
        "row 7 (sample 'g'): partition 'exam' is not train, validation, test",
        "row 8 (sample 'a'): sample_id 'a' was predicted before in this partition and fold",
        "row 9 (sample ''): sample_id '' is empty",
        "row 9 (sample ''): group_id '' is empty",
        "row 9 (sample ''): fold '0.5' is not a whole number",
        "row 9 (sample ''): y_true 'F1' is not a class 0..2",
        "row 9 (sample ''): p_1 'much' is not a probability",
    ]
    assert str(path) in str(caught.value)
    message = str(caught.value).splitlines()
    assert expected[0] in message[0]
    assert [line.removeprefix("  - ") for line in message[1:]] == expected[1:]


def test_a_sample_may_be_in_two_folds_and_two_partitions(tmp_path):
    rows = [f"a,g,,,{part},{fold},1,0.2,0.3,0.5" for part in ("test", "validation") for fold in (0, 1)]
    assert len(predictions.read(file_of(tmp_path, *rows))) == 4


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        (HEADER.replace("y_true,", ""), "y_true"),
        (HEADER.replace("group_id,", ""), "group_id"),
        (HEADER.replace("p_1", "p_3"), "p_1"),
        ("sample_id", "group_id, patient_id, site, partition, fold, y_true, p_0, p_1"),
    ],
)
def test_missing_columns_are_named(tmp_path, header, missing):
    with pytest.raises(DataError, match=f"missing: {missing}\\."):
        predictions.read(file_of(tmp_path, header=header))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty or not UTF-8"),
        (b"\x89PNG\r\n\xff\xfe", "empty or not UTF-8"),
        (f"{HEADER}\n".encode(), "only a header"),
        (f"{HEADER}\na,g,,,test,0,1,0.2,0.3\n".encode(), "row 1: 9 cells where the header has 10"),
        (f'{HEADER}\n"a,g,,,test,0'.encode(), "cannot be read as CSV"),
        (f"{HEADER},p_2\n".encode(), "twice in the header"),
    ],
)
def test_a_file_that_is_not_a_complete_table_is_refused(tmp_path, content, complaint):
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        predictions.read(path)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        predictions.read(tmp_path / "predictions.csv")


def test_probability_columns_are_ordered_by_number_not_by_name():
    frame = predicted(2).drop(columns=["p_0", "p_1", "p_2"])
    for k in reversed(range(12)):
        frame[f"p_{k}"] = float(k == 10)
    checked = predictions.validated(frame, "the frame")
    assert predictions.probabilities(checked).argmax(axis=1).tolist() == [10, 10]


def test_select_gives_one_partition_and_names_those_present_when_it_is_empty():
    frame = predicted(5)
    chosen = predictions.select(frame, "test")
    assert chosen["sample_id"].tolist() == ["001", "003", "004"]
    assert chosen.index.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="training without any"):
        predictions.select(chosen, "validation")


def test_faulty_predictions_are_not_written_and_the_older_file_stays(tmp_path):
    path = tmp_path / "predictions.csv"
    predictions.write(predicted(), path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="not a probability"):
        predictions.write(predicted().assign(p_0=np.nan), path)
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_older_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "predictions.csv"
    predictions.write(predicted(), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)  # the part written so far is in the temporary file
    with pytest.raises(StorageError, match=r"the disk mounted at .* is full"):
        predictions.write(predicted(seed=1), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_writing_into_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="could not be written"):
        predictions.write(predicted(), Path(tmp_path / "none" / "predictions.csv"))


def test_a_softmax_that_rounds_to_one_keeps_the_order_of_confident_rows():
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2
    logits = 20.0 + 12.0 * truth + 10.0 * rng.standard_normal(400)
    other = np.exp(-logits).astype(np.float32)
    columns = {"p_0": other / (1 + other), "p_1": 1 / (1 + other)}
    frame = pd.DataFrame({name: column.astype(np.float64) for name, column in columns.items()})
    area = roc_auc_score(truth, logits)
    assert roc_auc_score(truth, frame["p_1"]) < area - 0.04  # many of them are 1
    assert roc_auc_score(truth, predictions.probabilities(frame)[:, 1]) == pytest.approx(area, abs=0.02)


def test_rounded_probabilities_sum_to_one():
    frame = pd.DataFrame({"p_0": [0.1, 0.0], "p_1": [0.30001, 0.0], "p_2": [0.6, 0.99995]})
    np.testing.assert_allclose(predictions.probabilities(frame).sum(axis=1), 1.0, rtol=1e-15)
