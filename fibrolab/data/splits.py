"""Splits into training, validation and test partitions, drawn once, saved and reused."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.apportionment import apportion
from fibrolab.data.manifest import Manifest
from fibrolab.errors import SplitError, UndrawableSplitError, listing
from fibrolab.storage import write_table

PARTITION_WORDS = {  # by which users and published data sets name partitions
    "train": keys.TRAIN, "training": keys.TRAIN, "val": keys.VALIDATION, "valid": keys.VALIDATION,
    "validation": keys.VALIDATION, "test": keys.TEST, "testing": keys.TEST,
}  # fmt: skip
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One partition of a manifest into train, validation and test.

    Attributes:
        partitions: `train`, `validation` or `test` for every row of the manifest, strings (N,).
        fold: Number of the fold, 0 without folds.
        crossing: Number of groups in more than one partition; above 0 only in a paper's random protocol.
        val_is_test: Whether the test rows also choose the epoch, as paper 1 seems to have done.
        fault: Reason why the split could not be drawn, for the audit; every row is then in training.
    """

    partitions: np.ndarray
    fold: int
    crossing: int
    val_is_test: bool = False
    fault: str = ""

    @property
    def has_validation(self) -> bool:
        """Return whether there are samples to choose an epoch, thresholds and temperatures on."""
        return len(self.rows(keys.VALIDATION)) > 0

    def rows(self, partition: str) -> np.ndarray:
        """Return the rows of the manifest in one partition, int64 (n,)."""
        if self.val_is_test and partition == keys.VALIDATION:
            partition = keys.TEST
        return np.flatnonzero(self.partitions == partition)


def check(
    *,
    test: float | None = None,
    val: float | None = None,
    folds: int | None = None,
    fold: int = 0,
    leaky: bool = False,
    val_is_test: bool = False,
    **_: Any,
) -> None:
    """Refuse settings by which no data set can be split; those of `holdout`, `by_site` and the folds.

    Raises:
        SplitError: A partition would be empty, there is no such fold, or a paper's protocol is incomplete.
    """
    if val_is_test and (not leaky or val):
        raise SplitError(
            "val_is_test=true is only for the protocol of paper 1: choose it with split=paper1_random."
        )
    if folds is not None and (folds < 2 or not 0 <= fold < folds):
        raise SplitError(
            f"Fold {fold} of {folds}: give two folds or more, which are numbered from 0 to folds - 1."
        )
    given = {name: part for name, part in {"test": test, "val": val or None}.items() if part is not None}
    if not all(0 < part < 1 for part in given.values()) or sum(given.values()) >= 1:
        named = " and ".join(f"{name}={part}" for name, part in given.items())
        raise SplitError(
            f"Proportions {named} leave one of three partitions empty: give numbers above 0 that add "
            "to less than 1; only val may be 0, for a training without validation."
        )


def lacks_validation(settings: Mapping[str, Any]) -> bool:
    """Return whether the settings of a split of ours say that it has no validation partition.

    The data may still say it of `given` with `split.val=0`, whose column names one or not, and of `saved`.
    """
    of_folds = "folds" in settings and "test" in settings  # `folds_in_training`, whose fold validates
    return settings.get("val") == 0 and not (settings.get("val_is_test") or "column" in settings or of_folds)


def holdout(
    manifest: Manifest,
    *,
    test: float = 0.15,
    val: float = 0.15,
    seed: int = 0,
    grouped: bool = True,
    leaky: bool = False,
    val_is_test: bool = False,
) -> Split:
    """Draw one stratified split, 70/15/15 by default; with `test=0.2` validation comes from the other 80 %.

    Args:
        manifest: Samples to split.
        test: Proportion of the samples in the test partition.
        val: Proportion of the samples in the validation partition; 0: there is none, see `docs/training.md`.
        seed: Seed of the draw.
        grouped: Keep groups whole; otherwise every sample is drawn on its own.
        leaky: Allow groups in several partitions, to repeat a paper's protocol.
        val_is_test: Validate on the test partition, to repeat paper 1; `val` must then be 0.

    Raises:
        SplitError: Proportions out of range, a class absent from a partition, a group that does not fit, or
            groups in several partitions although `leaky` is not set.
    """
    check(test=test, val=val, leaky=leaky, val_is_test=val_is_test)
    partitions = _with_test_part(manifest, test, seed, grouped)
    _draw_validation(manifest, partitions, val / (1 - test), seed, grouped)
    return _checked(manifest, partitions, 0, leaky, val_is_test)


def by_site(manifest: Manifest, *, site: str, val: float = 0.15, seed: int = 0) -> Split:
    """Split for external validation: one site is the test partition, the others train and validate.

    Args:
        manifest: Samples to split; its column `site` must be filled.
        site: Name of the site that is the test partition.
        val: Proportion of the other sites' samples in the validation partition; 0: there is none.
        seed: Seed of the draw.

    Raises:
        SplitError: A site that is unknown or the only one, a patient or copies at several sites, or as
            `holdout`.
    """
    sites = manifest.table[keys.SITE].to_numpy(object)
    known = sorted(set(sites) - {""})
    if "" in sites or site not in known or len(known) < 2:
        raise SplitError(
            f"split.site={site} cannot be the external test of '{manifest.name}': its sites are "
            f"{', '.join(known) or 'not known'}{', some samples have none' if '' in sites else ''}; choose "
            "one of at least two, with every sample's site known."
        )
    check(val=val)
    partitions = np.where(sites == site, keys.TEST, keys.TRAIN).astype(object)
    _draw_validation(manifest, partitions, val, seed, grouped=True)
    return _checked(manifest, partitions, 0, leaky=False)


def leave_one_site_out(
    manifest: Manifest,
    *,
    folds: int,
    fold: int = 0,
    sites: Sequence[str] | None = None,
    val: float = 0.15,
    seed: int = 0,
) -> Split:
    """Split by leave-one-site-out cross-validation: each fold tests one site, the others train and validate.

    A sample without a site has that of its group. A test part may lack classes, since a site may have few:
    scores are those of all folds together.

    Args:
        manifest: Samples to split; its column `site` must name two sites or more.
        folds: Number of folds, which is that of the tested sites.
        fold: Number of the tested site in `sites`, 0 .. folds - 1.
        sites: Sites that are tested; the others always train and validate. None: all, in alphabetical order.
        val: Proportion of the other samples in the validation partition; 0 for none.
        seed: Seed of the draw of the validation partition.

    Raises:
        SplitError: A site that is unknown, another number of folds than sites, groups without a site, a
            patient or copies at several sites, or as `holdout`.
    """
    check(folds=folds, fold=fold, val=val)
    of_rows = pd.Series(manifest.table[keys.SITE].to_numpy(object))
    of_groups = of_rows[of_rows != ""].groupby(manifest.groups[of_rows != ""]).unique()
    known = sorted(set(of_rows) - {""})
    tested = known if sites is None else list(map(str, sites))
    if unknown := sorted(set(tested) - set(known)):
        raise SplitError(
            f"split.sites: {', '.join(unknown)} is no site of '{manifest.name}', whose sites are "
            f"{', '.join(known) or 'not known'}."
        )
    if len(set(tested)) != folds or len(tested) != folds or len(known) < 2:
        raise SplitError(
            f"Leave-one-site-out of '{manifest.name}' tests {len(set(tested))} sites, one in each fold, of "
            f"{', '.join(known) or 'none that is known'}: it needs two sites or more, each once, and "
            f"split.folds={max(len(set(tested)), 2)}."
        )
    if missing := sorted(set(manifest.groups) - set(of_groups.index)):
        raise SplitError(
            f"The site of {len(missing)} groups of '{manifest.name}' is not known, so that they may belong "
            f"to a tested one:\n{listing(missing)}\nFill the column site."
        )
    if several := [f"{group}: {', '.join(named)}" for group, named in of_groups.items() if len(named) > 1]:
        raise SplitError(
            f"Patients or copies are at several sites of '{manifest.name}':\n{listing(several)}\n"
            "Correct the column site, or use split=kfold."
        )
    rows = (of_groups.str[0].reindex(manifest.groups) == tested[fold]).to_numpy()
    partitions = np.where(rows, keys.TEST, keys.TRAIN).astype(object)
    _draw_validation(manifest, partitions, val, seed, grouped=True)
    return _checked(manifest, partitions, fold, leaky=False)


def kfold(
    manifest: Manifest,
    *,
    folds: int = 5,
    fold: int = 0,
    val: float = 0.15,
    seed: int = 0,
    grouped: bool = True,
    leaky: bool = False,
) -> Split:
    """Split by stratified k-fold cross-validation; validation is a proportion of the folds not in the test.

    Args:
        manifest: Samples to split.
        folds: Number of folds.
        fold: Number of the fold that is the test partition, 0 .. folds - 1.
        val: Proportion of the other samples in the validation partition; 0: there is none.
        seed: Seed of the draw; the folds of one seed are disjoint and cover the manifest.
        grouped: Keep groups whole.
        leaky: Allow groups in several partitions, to repeat a paper's protocol.

    Raises:
        SplitError: As `holdout`, or a class with fewer samples than folds, or no such fold.
    """
    check(folds=folds, fold=fold, val=val)
    _check_sizes(manifest, folds)
    names = [f"fold {k}" for k in range(folds)]
    parts = _draw(manifest, np.arange(len(manifest)), [1 / folds] * folds, names, seed, grouped)
    partitions = np.where(parts == fold, keys.TEST, keys.TRAIN).astype(object)
    _draw_validation(manifest, partitions, val, seed, grouped)
    return _checked(manifest, partitions, fold, leaky)


def folds_in_training(
    manifest: Manifest,
    *,
    test: float = 0.15,
    val: float = 0,
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
    grouped: bool = True,
    leaky: bool = False,
) -> Split:
    """Split by cross-validation inside the training part, with one test partition for all folds (paper 5).

    With `val`, the folds leave out the samples too on which `holdout` of the same seed validates: they are in
    the test partition of every fold, and neither train nor choose anything.

    Args:
        manifest: Samples to split.
        test: Proportion of the samples in the test partition, the same for every fold.
        val: Proportion of the samples on which the final training validates; 0: the folds take them.
        folds: Number of folds of the remaining samples.
        fold: Number of the fold that is the validation partition.
        seed: Seed of the draw.
        grouped: Keep groups whole.
        leaky: Allow groups in several partitions, to repeat a paper's protocol.

    Raises:
        SplitError: As `kfold`.
    """
    check(folds=folds, fold=fold, test=test, val=val)
    _check_sizes(manifest, folds)
    partitions = _with_test_part(manifest, test, seed, grouped)
    rest = np.flatnonzero(partitions != keys.TEST)
    if val > 0:
        share = val / (1 - test)
        beside = _draw(manifest, rest, [1 - share, share], ["folds", "beside the folds"], seed, grouped) == 1
        partitions[rest[beside]] = keys.TEST
        rest = rest[~beside]
    inner = _draw(manifest, rest, [1 / folds] * folds, [f"fold {k}" for k in range(folds)], seed, grouped)
    partitions[rest[inner == fold]] = keys.VALIDATION
    return _checked(manifest, partitions, fold, leaky)


def saved(manifest: Manifest, *, path: str, leaky: bool = False) -> Split:
    """Read a split that an earlier run drew.

    Args:
        manifest: Samples of the split.
        path: CSV file written by `write`.
        leaky: Allow groups in several partitions.

    Raises:
        SplitError: No such file, a split of another manifest, or rows missing, unknown or repeated.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SplitError(
            f"The split {path} cannot be read ({error}); set split.path to a saved split.csv."
        ) from error
    missing = {keys.SAMPLE_ID, keys.PARTITION, keys.FOLD, keys.MANIFEST_HASH} - set(table)
    if missing or table.empty:
        fault = f"lacks the column(s) {', '.join(sorted(missing))}" if missing else "holds no row"
        raise SplitError(f"The split {path} {fault}; set split.path to a saved split.csv.")
    if table[keys.MANIFEST_HASH].iloc[0] != manifest.hash:
        raise SplitError(
            f"The split {path} was drawn from another manifest than '{manifest.name}' is now "
            f"({table[keys.MANIFEST_HASH].iloc[0][:12]} against {manifest.hash[:12]}): samples, groups, "
            "labels or privacy.ids differ. Draw a new one with split=grouped."
        )
    by_id = table.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)[keys.PARTITION]
    partitions = by_id.reindex(manifest.table[keys.SAMPLE_ID])
    wrong = sorted(partitions.index[~partitions.isin(keys.PARTITIONS)])
    if wrong or len(table) != len(manifest):
        raise SplitError(
            f"The split {path} has {len(table)} rows for {len(manifest)} samples; without a partition:\n"
            f"{listing(wrong)}"
        )
    return _checked(manifest, partitions.to_numpy(object), int(table[keys.FOLD].iloc[0]), leaky)


def given(
    manifest: Manifest, *, column: str = keys.GIVEN, val: float = 0.15, seed: int = 0, leaky: bool = False
) -> Split:
    """Take the split that a column of the data's table names, such as that of a published data set.

    `data=folder` makes the column `split` from folders `Train/`, `Val/` and `Test/`.

    Args:
        manifest: Samples to split.
        column: Column with `train`, `validation` (or `val`) or `test` for every sample, in any case.
        val: Proportion of the training samples that validate, if the column names no validation sample; 0:
            none does.
        seed: Seed of that draw.
        leaky: Allow groups in several partitions, to repeat a paper's protocol.

    Raises:
        SplitError: No such column, other words in it, no training or test sample, or as `holdout`.
    """
    check(val=val)
    table = manifest.table
    if column not in table:
        raise SplitError(
            f"'{manifest.name}' has no column {column}; it has {', '.join(map(str, table.columns))}. Name "
            "the column with the split by split.column=NAME."
        )
    cells = table[column].fillna("").astype(str).str.strip()
    words = cells.str.casefold()
    partitions = words.map(PARTITION_WORDS).to_numpy(object)
    if (wrong := ~words.isin(list(PARTITION_WORDS)).to_numpy()).any():
        raise SplitError(
            f"The split in column {column} of '{manifest.name}' names other partitions than train, "
            f"validation (or val) and test in {manifest.named(wrong)}, such as "
            f"'{cells[wrong].iloc[0]}'."
        )
    found = set(partitions)
    if missing := [name for name in (keys.TRAIN, keys.TEST) if name not in found]:
        raise SplitError(
            f"The split in column {column} of '{manifest.name}' has no {' and no '.join(missing)} sample."
        )
    if keys.VALIDATION not in found:
        _draw_validation(manifest, partitions, val, seed, grouped=not leaky)
    return _checked(manifest, partitions, 0, leaky)


EXTERNAL = {"_target_": f"{__name__}.all_test", "name": "external"}  # settings of the split below


def all_test(manifest: Manifest) -> Split:
    """Put every sample in the test partition, for external evaluation and prediction."""
    return Split(np.full(len(manifest), keys.TEST, object), 0, 0)


def undrawn(manifest: Manifest, fault: str) -> Split:
    """Put every sample in the training partition, for an audit of data for which no split can be drawn."""
    return Split(np.full(len(manifest), keys.TRAIN, object), 0, 0, fault=fault)


def write(split: Split, manifest: Manifest, path: Path) -> None:
    """Save a split as CSV: sample, group, partition, fold and the manifest's hash."""
    table = manifest.table[[keys.SAMPLE_ID, keys.GROUP_ID]].copy()
    table[keys.PARTITION] = split.partitions
    table[keys.FOLD] = split.fold
    table[keys.MANIFEST_HASH] = manifest.hash
    write_table(table, path)


def _check_sizes(manifest: Manifest, folds: int) -> None:
    counts = np.bincount(manifest.labels, minlength=len(manifest.classes))
    small = [f"{name}: {n}" for name, n in zip(manifest.classes, counts, strict=True) if n < folds]
    if small:
        raise UndrawableSplitError(
            f"'{manifest.name}' has classes with fewer samples than the {folds} folds:\n{listing(small)}\n"
            "Use fewer folds or merge classes (task=...)."
        )


def _with_test_part(manifest: Manifest, test: float, seed: int, grouped: bool) -> np.ndarray:
    """Draw the test partition before any other part, and return it with the rest in training, (N,) object.

    The draw depends on data, proportion, seed and groups alone, so that every split with a test part has the
    same: patients on whom settings were tuned by folds are then never in the test of the final training.
    """
    names = ["training part", keys.TEST]
    parts = _draw(manifest, np.arange(len(manifest)), [1 - test, test], names, seed, grouped)
    return np.where(parts == 1, keys.TEST, keys.TRAIN).astype(object)


def _draw_validation(
    manifest: Manifest, partitions: np.ndarray, proportion: float, seed: int, grouped: bool
) -> None:
    """Move a proportion of the training partition to validation, in place; 0 leaves it whole."""
    if proportion > 0:
        rest, names = np.flatnonzero(partitions == keys.TRAIN), [keys.TRAIN, keys.VALIDATION]
        drawn = _draw(manifest, rest, [1 - proportion, proportion], names, seed, grouped)
        partitions[rest[drawn == 1]] = keys.VALIDATION


def _draw(
    manifest: Manifest,
    rows: np.ndarray,
    proportions: Sequence[float],
    names: Sequence[str],
    seed: int,
    grouped: bool,
) -> np.ndarray:
    """Draw the part of every row in `rows`, int64 (n,); refuse too large groups and absent classes.

    Args:
        manifest: All samples.
        rows: Rows to draw parts for.
        proportions: Proportion of the samples in each part.
        names: Name of each part, for messages.
        seed: Seed of the draw.
        grouped: Keep groups whole.
    """
    groups = np.unique(manifest.groups[rows], return_inverse=True)[1] if grouped else np.arange(len(rows))
    labels = manifest.labels[rows]
    parts = apportion(labels, groups, proportions, np.random.default_rng(seed))
    sizes = np.bincount(groups)
    largest = int(sizes.max())
    part = parts[groups == sizes.argmax()][0]
    if largest > 1 and largest > np.ceil(proportions[part] * len(rows)):
        group = manifest.groups[rows][groups == sizes.argmax()][0]
        raise UndrawableSplitError(
            f"Group '{group}' has {largest} of {len(rows)} samples, more than any partition may have "
            f"({names[part]}: {proportions[part]:.0%}): it cannot be kept whole. Use fewer folds, or other "
            "groups."
        )
    absent = [
        f"{name} has no sample of {manifest.classes[k]}"
        for number, name in enumerate(names)
        for k in np.unique(labels)
        if not np.any(labels[parts == number] == k)
    ]
    if absent:
        raise UndrawableSplitError(
            f"The split of '{manifest.name}' leaves classes out:\n{listing(absent)}\n"
            "They have too few samples or groups: add data, merge classes (task=...) or use fewer folds."
        )
    return parts


def _checked(
    manifest: Manifest, partitions: np.ndarray, fold: int, leaky: bool, val_is_test: bool = False
) -> Split:
    """Return the split; refuse groups in several partitions, or warn of them if `leaky` allows them."""
    num_partitions = pd.Series(partitions).groupby(manifest.groups).nunique()
    crossing = int((num_partitions > 1).sum())
    if crossing and not leaky:
        raise SplitError(
            f"{crossing} of {len(num_partitions)} groups of '{manifest.name}' are in more than one partition,"
            " so that copies or patients leak from training into the test:\n"
            f"{listing(_crossing_groups(manifest, partitions))}\n"
            "Use split=grouped (or split.grouped=true), which keeps groups whole. split.leaky=true takes the "
            "split as it is, as split=paper_random does, and the report says so."
        )
    if crossing:
        logger.warning(
            "LEAK: %d of %d groups are in several partitions; this split repeats a paper; its scores are "
            "invalid.",
            crossing,
            len(num_partitions),
        )
    if val_is_test:
        logger.warning("LEAK: the epoch is selected on the test partition (val_is_test=true, as in paper 1).")
    return Split(partitions, fold, crossing, val_is_test)


def _crossing_groups(manifest: Manifest, partitions: np.ndarray) -> list[str]:
    """Return a phrase on each group in several partitions: its name, and a sample in each of them."""
    table = pd.DataFrame(
        {"group": manifest.groups, "sample": manifest.table[keys.SAMPLE_ID], "partition": partitions}
    )
    firsts = table.drop_duplicates(["group", "partition"])
    return [
        f"{group}: {', '.join(f'{row.sample} in {row.partition}' for row in rows.itertuples())}"
        for group, rows in firsts[firsts["group"].duplicated(keep=False)].groupby("group", sort=True)
    ]
