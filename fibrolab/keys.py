"""Names used across the package: columns of tables, batch keys, partitions, files of a run."""

from typing import Final

# Columns of the manifest, which has one row per sample.
SAMPLE_ID: Final = "sample_id"
GROUP_ID: Final = "group_id"  # samples that are never split: a patient, or a cluster of copies
PATIENT_ID: Final = "patient_id"
VISIT_ID: Final = "visit_id"  # a stage belongs to a visit, because it may change over years
LABEL: Final = "label"  # index into the manifest's classes; for METAVIR the stage 0..4
UNLABELLED: Final = -1  # label of a sample for prediction only; never in splits, training or metrics
IMAGE: Final = "image"  # paths are relative to the manifest's root
FRAME: Final = "frame"  # frame of the image's file: a number from 0, or `middle`
ROI: Final = "roi"  # region of the image: left top width height [px], or the name of a box that is detected
ELASTOGRAM: Final = "elastogram"
ELASTOGRAM_ROI: Final = "elastogram_roi"
CLIP: Final = "clip"
MASK: Final = "mask"
TRUE_MASK: Final = "true_mask"  # of a sample whose mask is a pseudo-mask
LSM_KPA: Final = "lsm_kpa"
AGE_YEARS: Final = "age_years"
SEX: Final = "sex"
AST_U_L: Final = "ast_u_l"
AST_ULN_U_L: Final = "ast_uln_u_l"
ALT_U_L: Final = "alt_u_l"
PLATELETS_1E9_L: Final = "platelets_1e9_l"
SITE: Final = "site"
SCANNER: Final = "scanner"
PATIENT_SPELLING: Final = "patient_spelling"  # hash of what the spellings of a hashed patient_id share
ROW: Final = "table_row"  # row number in the user's spreadsheet; the header is row 1

# Split columns and their values.
PARTITION: Final = "partition"
GIVEN: Final = "split"  # column of the user's table with a split that was drawn elsewhere
FOLD: Final = "fold"
REPEAT: Final = "repeat"  # number of a repetition with another seed, from 0
MANIFEST_HASH: Final = "manifest"  # hash of the manifest that the split was drawn from
TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
PARTITIONS: Final = (TRAIN, VALIDATION, TEST)

# Batch keys besides the modalities and LABEL.
INDEX: Final = "index"  # row of the manifest, which links a prediction to its sample
CLINICAL: Final = "clinical"  # values of clinical columns, NaN if not measured
SEED: Final = "seed"  # seed of the augmentation, if whole batches are augmented
WEIGHT: Final = "weight"  # of each sample in the mean over an uneven last batch of several ranks; 0 for a pad
INPUTS: Final = (IMAGE, ELASTOGRAM, CLIP, CLINICAL)  # what a branch of a network may take


def present(name: str) -> str:
    """Return the batch key of the mask of samples with a modality; absent if all samples have it."""
    return f"{name}_present"


def features(branch: str) -> str:
    """Return the batch key of the precomputed features of a frozen branch."""
    return f"features_{branch}"


# Columns of the predictions: SAMPLE_ID .. FOLD, then Y_TRUE and one probability per class.
Y_TRUE: Final = "y_true"  # class index in the task; also a column of a run's manifest


def probability_columns(num_classes: int) -> list[str]:
    """Return the names of the probability columns, ``p_0 .. p_{K-1}``."""
    return [f"p_{k}" for k in range(num_classes)]


# Files in the folder of a run; evaluation and reporting read only these.
CONFIG_FILE: Final = "config.yaml"
MANIFEST_FILE: Final = "manifest.csv"
SPLIT_FILE: Final = "split.csv"
AUDIT_FILE: Final = "audit.json"
AUDIT_PAGE: Final = "audit.html"
HISTORY_FILE: Final = "history.csv"
MASK_MEASURES_FILE: Final = "segmentation.csv"  # of a segmentation: measures of each class in each image
PIXEL_COUNTS_FILE: Final = "pixel_counts.csv"  # and its pixels by their predicted probability
MASKS_FILE: Final = "mask_predictions.csv"  # and the paths of its predicted masks, in the folder MASKS
MASKS: Final = "masks"
MODEL: Final = "model"  # folder of the model that MLflow serves
EXPORT_FILE: Final = "export.json"  # record of an export, beside it or in that folder
PREDICTIONS_FILE: Final = "predictions.csv"
METRICS_FILE: Final = "metrics.csv"
NETWORKS_FILE: Final = "networks.csv"  # of a run of several trainings: its networks, one row each
NETWORK_PREDICTIONS_FILE: Final = "network_predictions.csv"  # and the predictions of each of them
NETWORK_HISTORIES_FILE: Final = "network_histories.csv"  # and the learning curves of each of them
ENVIRONMENT_FILE: Final = "environment.json"
TEST_SET_FILE: Final = "test_set.json"  # identity of the test set, and its earlier scorings
REPORT_FILE: Final = "report.html"
FIGURES: Final = "figures"
EXPLANATION: Final = "explanation"  # folder of heat maps, their tests and pictures
EXPLANATION_FINDINGS_FILE: Final = f"{EXPLANATION}/findings.json"
EXPLANATION_PAGE: Final = f"{EXPLANATION}/explanation.html"
PSEUDO_MASKS: Final = "pseudo_masks"  # folder of the masks that `explain` makes from maps
CHECKPOINTS: Final = "checkpoints"
BEST: Final = "best.ckpt"  # checkpoint with the weights of the best epoch
SEGMENTED_BY: Final = "segmented_by"  # run of the segmenter that made the mask of a sample
SEGMENTER: Final = "segmenter.ckpt"  # checkpoint of the segmenter whose masks images are cropped to
LAST: Final = "last.ckpt"  # checkpoint with the full state, from which a run is resumed
PREVIOUS: Final = "previous.ckpt"  # the one before it, for a LAST that is damaged; removed when a run ends
FORMAT: Final = 2  # version of these files, in ENVIRONMENT_FILE and checkpoints; others are refused

LATENCY: Final = "latency"  # metric of a trial, and goal of a study: time of the network for one image [ms]

VERDICTS: Final = ("ok", "warning", "fail")  # verdicts of an audit, in order of severity
