"""The names that stages share: manifest columns, batch keys, partitions, prediction columns, run files."""

from typing import Final

# Manifest columns: one row a sample.
SAMPLE_ID: Final = "sample_id"
GROUP_ID: Final = "group_id"  # what must never be parted: the patient, or the cluster of copies
PATIENT_ID: Final = "patient_id"
VISIT_ID: Final = "visit_id"  # a stage belongs to a visit: patients change stage over years
LABEL: Final = "label"  # index into the manifest's classes; for METAVIR the stage 0..4
UNLABELLED: Final = -1  # label of a sample that is to be predicted; no split, training or metric takes one
IMAGE: Final = "image"  # paths are relative to the manifest's root
FRAME: Final = "frame"  # of the image's file: a number from 0, or `middle`
ROI: Final = "roi"  # of the image: left top width height [px], or the name of a box that is found in it
ELASTOGRAM: Final = "elastogram"
ELASTOGRAM_ROI: Final = "elastogram_roi"
CLIP: Final = "clip"
MASK: Final = "mask"
LSM_KPA: Final = "lsm_kpa"
AGE_YEARS: Final = "age_years"
SEX: Final = "sex"
AST_U_L: Final = "ast_u_l"
AST_ULN_U_L: Final = "ast_uln_u_l"
ALT_U_L: Final = "alt_u_l"
PLATELETS_1E9_L: Final = "platelets_1e9_l"
SITE: Final = "site"
SCANNER: Final = "scanner"
ROW: Final = "table_row"  # where the user finds the sample: a spreadsheet's number, the header being 1

# Split columns and their values.
PARTITION: Final = "partition"
FOLD: Final = "fold"
MANIFEST_HASH: Final = "manifest"  # of the manifest that the split was drawn from
TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
PARTITIONS: Final = (TRAIN, VALIDATION, TEST)

# Batch keys beside the modalities and LABEL.
INDEX: Final = "index"  # row of the manifest, so that a prediction finds its sample
CLINICAL: Final = "clinical"  # values of a table's columns, NaN where not measured
SEED: Final = "seed"  # of the augmentation, where whole batches are augmented
INPUTS: Final = (IMAGE, ELASTOGRAM, CLIP, CLINICAL)  # what a branch of a network may take


def present(name: str) -> str:
    """Key of the mask of the samples that have a modality; where all have it, there is none."""
    return f"{name}_present"


def features(branch: str) -> str:
    """Key of the features that were computed of a frozen branch before the training."""
    return f"features_{branch}"


# Prediction columns: SAMPLE_ID .. FOLD, then Y_TRUE and one probability a class.
Y_TRUE: Final = "y_true"  # class index under the task; also a column of a run's manifest


def probability_columns(num_classes: int) -> list[str]:
    """Return names of the probability columns, ``p_0 .. p_{K-1}``."""
    return [f"p_{k}" for k in range(num_classes)]


# Files of a run's folder; every later stage reads these and nothing else.
CONFIG_FILE: Final = "config.yaml"
MANIFEST_FILE: Final = "manifest.csv"
SPLIT_FILE: Final = "split.csv"
AUDIT_FILE: Final = "audit.json"
AUDIT_PAGE: Final = "audit.html"
HISTORY_FILE: Final = "history.csv"
PREDICTIONS_FILE: Final = "predictions.csv"
METRICS_FILE: Final = "metrics.csv"
ENVIRONMENT_FILE: Final = "environment.json"
REPORT_FILE: Final = "report.html"
FIGURES: Final = "figures"
CHECKPOINTS: Final = "checkpoints"
BEST: Final = "best.ckpt"  # of the checkpoints, the weights of the best epoch
FORMAT: Final = 2  # of these files, recorded in ENVIRONMENT_FILE and in checkpoints; others are refused

GRAVITY: Final = ("ok", "warning", "fail")  # verdicts of an audit, the gravest last
