"""Nearest training cases: the training patients whose pictures are nearest to a new one in the features.

Ids, classes and small pictures of the training samples that `typicality.Reference` holds, row by row, lie in
a file of their own beside the checkpoint, which may be deleted to keep the pictures away from others.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fibrolab.runs.typicality import BLOCK, Reference, unit_length
from fibrolab.storage import put, read_arrays

ENDING = ".cases.npz"  # of the file beside a checkpoint, instead of `.ckpt`
NUMBER = 3  # cases of each new sample
COLUMNS = tuple(f"nearest_case_{rank}" for rank in range(1, NUMBER + 1))  # of the answers
SIDE = 144  # longer side of a small picture [pixels]


@dataclass(frozen=True)
class Cases:
    """Training samples of a network, in the order of the rows of its `Reference`.

    Attributes:
        samples: Ids as the run records them, hashed under `privacy.ids=hashed`, str (N,).
        groups: Number of each sample's group, int64 (N,): a patient is shown once.
        classes: Name of each sample's class, str (N,).
        ends: End of each small picture in `content`, int64 (N,); of a sample without one that of the former.
        content: The small pictures as JPEG, one after the other, uint8 (bytes,).
        hashed: Whether the ids are hashed.
        data: Name of the data set.
    """

    samples: np.ndarray
    groups: np.ndarray
    classes: np.ndarray
    ends: np.ndarray
    content: np.ndarray
    hashed: bool
    data: str

    def nearest(self, features: np.ndarray, reference: Reference) -> np.ndarray:
        """Return the ids of the nearest training samples of different groups, object (N, `NUMBER`).

        Args:
            features: Features of new samples, float32 (N, F).
            reference: The reference of the same network.

        Returns:
            Ids in the order of distance; empty where the training had fewer groups.
        """
        found = np.full((len(features), NUMBER), "", object)
        _, codes = np.unique(self.groups, return_inverse=True)
        vectors = unit_length(features)
        for start in range(0, len(vectors), BLOCK):
            cosines = vectors[start : start + BLOCK] @ reference.features.T
            for row, order in enumerate(np.argsort(-cosines, axis=1, kind="stable"), start):
                _, first = np.unique(codes[order], return_index=True)
                chosen = order[np.sort(first)[:NUMBER]]
                found[row, : len(chosen)] = self.samples[chosen]
        return found

    def shown(self, samples: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Return class and small picture, JPEG, of samples by their id; no bytes without a picture."""
        rows = dict(zip(self.samples.tolist(), range(len(self.samples)), strict=True))
        starts = np.concatenate([[0], self.ends])
        return {
            name: (
                str(self.classes[rows[name]]),
                self.content[starts[rows[name]] : self.ends[rows[name]]].tobytes(),
            )
            for name in samples
        }

    def save(self, path: Path) -> None:
        """Write the cases; StorageError if the disk is full."""
        content = io.BytesIO()
        np.savez(content, **vars(self))
        put(path, content.getvalue())


def beside(checkpoint: Path) -> Path:
    """Return the path of the cases of a checkpoint."""
    return checkpoint.with_name(checkpoint.stem + ENDING)


def collected(
    samples: Sequence[str],
    groups: Sequence[str],
    classes: Sequence[str],
    pictures: Mapping[str, np.ndarray],
    data: str,
    hashed: bool,
) -> Cases:
    """Return the cases of a training.

    Args:
        samples: Ids of N samples.
        groups: Group of each.
        classes: Name of the class of each.
        pictures: Preprocessed picture by id, uint8 (H, W) or (H, W, 3); a sample may have none.
        data: Name of the data set.
        hashed: Whether the ids are hashed.
    """
    small = [_small(pictures[name]) if name in pictures else b"" for name in samples]
    return Cases(
        np.array(samples, str),
        np.unique(np.array(groups, str), return_inverse=True)[1],
        np.array(classes, str),
        np.cumsum([len(each) for each in small], dtype=np.int64),
        np.frombuffer(b"".join(small), np.uint8),
        hashed,
        data,
    )


def read(path: Path) -> Cases | None:
    """Read cases; None if there are none, as of a fast dev run or where they were deleted.

    Raises:
        DataError: The file is damaged.
    """
    arrays = read_arrays(path, Cases.__dataclass_fields__)
    if arrays is None:
        return None
    return Cases(**arrays | {"hashed": bool(arrays["hashed"]), "data": str(arrays["data"])})


def _small(pixels: np.ndarray) -> bytes:
    """Return a picture as JPEG, not larger than `SIDE`; WebP takes half the bytes, 20 times as long."""
    from PIL import Image

    content = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    image.save(content, format="jpeg", quality=80)
    return content.getvalue()
