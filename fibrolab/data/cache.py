"""Pixel store: preprocessed images, addressed by the hash of their file, written once and memory-mapped.

A store is one folder for one set of preprocessing settings; its files are only appended to::

    ROOT/KEY/pixels.u8      slot i: H * W bytes at i * H * W (three times as many for colours)
    ROOT/KEY/records.bin    record i: SHA-256 of the content that slot i was made from, number of slots,
                            CRC-32 of their pixels, CRC-32 of the record; the frames of a clip fill
                            consecutive slots: the last one has the record, the others have zeros
    ROOT/KEY/settings.json  the settings that KEY is the hash of, for human readers
    ROOT/KEY/build.lock     locked by the process that builds

Pixels are written to disk before their records, so every slot with a record is complete, however a build is
stopped. The next build cuts off anything after the last complete record. Every build compares the pixels
that it hands out with their CRC-32; a damaged entry loses its record, is never used again, and its sample is
appended anew. Slots are never moved or reused, since other processes may be reading them.
"""

import json
import logging
import os
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from itertools import chain, islice, starmap
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from fibrolab.data import masks
from fibrolab.data.build_lock import only_builder, storing
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import ONE_PASS, Media, batches, by_file
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.progress import track
from fibrolab.data.readers import decode_clip
from fibrolab.errors import DataError, StorageError, UnreadableImageError, listing
from fibrolab.processes import cores, single_threaded_opencv
from fibrolab.storage import full_disk, is_full

CHUNK = 64  # images between two writes: the most work that is lost when the process is killed
CLIPS = 4  # clips between two writes: with more, a hundred frames each would fill the memory
BLOCK = 2**24  # bytes read at once, so that a long clip does not fill the memory
TOGETHER = 64  # entries that one thread checks between two others
LAYOUT = struct.Struct("<32sIII")  # of a record: SHA-256, slots, CRC-32 of their pixels, CRC-32 of the record
RECORD = LAYOUT.size
VOID = b"\xff" * RECORD  # record of a slot that was found damaged
ABSENT = -1  # slot of a sample that lacks the modality

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Position of one sample in a store, and the CRC-32 of its pixels."""

    first: int
    frames: int
    checksum: int

    @property
    def last(self) -> int:
        """The last slot."""
        return self.first + self.frames - 1


class Slots(NamedTuple):
    """Positions of samples in a store: first slot and number of slots (one per frame) of each, int64 (N,).

    A sample that lacks the modality has first slot `ABSENT` and no frame.
    """

    first: np.ndarray
    frames: np.ndarray

    def among(self, present: np.ndarray) -> "Slots":
        """Return these slots for samples that are `present`, bool (N,), and absent slots for the others."""
        slots = Slots(np.full(len(present), ABSENT, np.int64), np.zeros(len(present), np.int64))
        slots.first[present], slots.frames[present] = self
        return slots


class PixelStore:
    """Preprocessed images on disk, addressed by the content that they were made from.

    Args:
        root: folder of all stores; created when it is missing.
        preprocess: the settings; each set of settings has its own store.
        lasting: False for a folder that one process uses and soon removes: nothing is synced, locked or
            compared.

    Attributes:
        held: Images that were added in memory, uint8 (1, H, W) or (1, H, W, 3), by their digest. If there are
            any, the store consists of these alone, and has no files.
    """

    def __init__(self, root: Path, preprocess: Preprocess, lasting: bool = True) -> None:
        self.preprocess, self.lasting = preprocess, lasting
        self.held = dict[str, np.ndarray]()
        self.folder = Path(root) / preprocess.key()
        self.pixels_path = self.folder / "pixels.u8"
        self._index_path = self.folder / "records.bin"
        self._slot_bytes = int(np.prod(preprocess.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, ``(H, W)``, or ``(H, W, 3)`` in colour."""
        return self.preprocess.shape

    def build(
        self,
        media: Sequence[Media],
        digests: Sequence[str],
        clips: bool = False,
        workers: int = 0,
        progress: bool = True,
    ) -> Slots:
        """Make sure that every sample's pixels are in the store; compute those that are missing or damaged.

        Only one process builds at a time; a second one waits and then finds the pixels stored.

        Args:
            media: the samples; several may have the same bytes.
            digests: SHA-256 of each sample in hexadecimal, from the survey; of images cropped to their masks,
                of both files (`masks.cropped_digests`).
            clips: store every frame of each file, one after the other; otherwise the one image that is used.
            workers: threads; 0 means one per core. (OpenCV and Pillow release the GIL while they work, and
                threads, unlike processes, end with a build that is killed.)
            progress: show a progress bar.

        Returns:
            The slots of each sample; more than one for a clip.

        Raises:
            DataError: files are unreadable or changed since they were hashed. All are listed; the other
                files are stored nevertheless.
            StorageError: the disk is full or the folder cannot be written.
        """
        if self.held:
            slot_of = {digest: slot for slot, digest in enumerate(self.held)}
            slots = np.array([slot_of[digest] for digest in digests], np.int64)
            return Slots(slots, np.ones_like(slots))
        wanted = dict(zip(digests, media, strict=True))  # identical files are read once
        entries = self._intact(wanted)
        if absent := {digest: item for digest, item in wanted.items() if digest not in entries}:
            copies = Counter(digests)
            with self._alone():
                faults = self._fill(absent, clips, workers, progress)
            if faults:
                lines = [f"{fault}{_and_copies(copies[digest])}" for digest, fault in faults.items()]
                raise DataError(f"{len(faults)} files cannot be used:\n{listing(sorted(lines))}")
            entries |= self._index()[0]
        places = np.array([entries[digest][:2] for digest in digests], dtype=np.int64)
        return Slots(places[:, 0], places[:, 1])

    def _alone(self) -> AbstractContextManager[None]:
        name = f"pixel store {self.folder}"
        return only_builder(self.folder / "build.lock", name) if self.lasting else storing(self.folder, name)

    @property
    def source(self) -> Path | Sequence[np.ndarray]:
        """The file of the pixels, or the images that are held in memory by their slot."""
        return list(self.held.values()) or self.pixels_path

    def open(self) -> np.memmap:
        """Map the pixels read-only, uint8 ``(n, H, W)``.

        Raises:
            StorageError: nothing has been built yet.
        """
        count = self._count()
        if count == 0:
            raise StorageError(f"The pixel store {self.folder} is empty; build it first")
        return np.memmap(self.pixels_path, np.uint8, mode="r", shape=(count, *self.shape))

    def _count(self) -> int:
        """Count the slots that are complete and have a complete record."""
        return min(_size(self.pixels_path) // self._slot_bytes, _size(self._index_path) // RECORD)

    def _records(self) -> tuple[bytes, np.ndarray]:
        """Return all records, and the slots whose record is not all zeros, int64 (n,)."""
        count = self._count()
        content = self._index_path.read_bytes()[: count * RECORD] if count else b""
        return content, np.flatnonzero(np.frombuffer(content, np.uint8).reshape(-1, RECORD).any(axis=1))

    def _index(self) -> tuple[dict[str, Entry], list[int]]:
        """Return the entries of the store by digest, in order, and the slots with a damaged record."""
        content, slots = self._records()
        entries, damaged = {}, []
        for slot in slots.tolist():
            record = content[slot * RECORD : (slot + 1) * RECORD]
            digest, frames, checksum, own = LAYOUT.unpack(record)
            if own == zlib.crc32(record[:-4]) and 1 <= frames <= slot + 1:
                entries[digest.hex()] = Entry(slot - frames + 1, frames, checksum)
            elif record != VOID:
                damaged.append(slot)
        return entries, damaged

    def _intact(self, wanted: Container[str]) -> dict[str, Entry]:
        """Return the entries of wanted digests whose pixels are unchanged since they were written."""
        entries = {digest: entry for digest, entry in self._index()[0].items() if digest in wanted}
        if not entries or not self.lasting:
            return entries
        parts = _chunks(entries.items(), TOGETHER)
        # A memory map would count as memory of this process; the checksums are computed without the GIL.
        with self.pixels_path.open("rb") as file, ThreadPoolExecutor(cores()) as pool:
            return dict(chain.from_iterable(pool.map(partial(self._unchanged, file.fileno()), parts)))

    def _unchanged(self, file: int, part: list[tuple[str, Entry]]) -> list[tuple[str, Entry]]:
        return [(digest, entry) for digest, entry in part if self._is_unchanged(file, entry)]

    def _is_unchanged(self, file: int, entry: Entry) -> bool:
        position, checksum = entry.first * self._slot_bytes, 0
        end = position + entry.frames * self._slot_bytes
        try:
            while position < end and (block := os.pread(file, min(BLOCK, end - position), position)):
                checksum = zlib.crc32(block, checksum)
                position += len(block)
        except OSError:  # a bad sector
            return False
        return checksum == entry.checksum

    def _void_damaged(self, wanted: Container[str]) -> None:
        """Void damaged records, and those of wanted digests whose pixels are damaged."""
        entries, damaged = self._index()
        intact = self._intact(wanted)
        damaged += [e.last for digest, e in entries.items() if digest in wanted and digest not in intact]
        if not damaged:
            return
        _log.warning("Damaged entries of the pixel store %s are made again: %d.", self.folder, len(damaged))
        with self._index_path.open("r+b") as file:
            for slot in damaged:
                file.seek(slot * RECORD)
                file.write(VOID)
            file.flush()
            os.fsync(file.fileno())

    def _fill(self, wanted: dict[str, Media], clips: bool, workers: int, progress: bool) -> dict[str, str]:
        """Compute and append missing pixels, one chunk at a time; return the faults by digest."""
        self._cut_tail()
        self._void_damaged(wanted)
        known, _ = self._index()
        missing = [(digest, item) for digest, item in wanted.items() if digest not in known]
        if not missing:
            return {}
        if self.lasting:
            self._check_space(len(missing))
            self._write_settings()
        faults: dict[str, str] = {}
        one_slot = self._mask if self.preprocess.labels else self._picture
        size, process = (CLIPS, self._clip) if clips else (CHUNK, one_slot)
        compute = partial(self._compute, process)
        most = 1 if clips else max(1, min(ONE_PASS, BLOCK // self._slot_bytes))
        pairs = self.preprocess.labels or self.preprocess.crop == "mask"  # two files are read of a sample
        files = by_file([(item, digest) for digest, item in missing], most, pairs)
        if len(missing) == 1:  # without threads for it; OpenCV may use all cores
            return self._keep(compute(files[0]))
        threads = workers or cores()
        with single_threaded_opencv(), ThreadPoolExecutor(threads) as pool:
            # A batch is submitted when the previous one is written, so that memory stays bounded.
            found = (pool.map(compute, batch) for batch in batches(files, size, threads))
            results = chain.from_iterable(chain.from_iterable(found))
            shown = track(results, len(missing), "Preprocessing") if progress else results
            for chunk in _chunks(shown, size):
                faults |= self._keep(chunk)
        return faults

    def _keep(self, results: list[tuple[str, np.ndarray | str]]) -> dict[str, str]:
        """Append the pixels among results; return the faults among them by digest."""
        self.append([(digest, result) for digest, result in results if not isinstance(result, str)])
        return {digest: result for digest, result in results if isinstance(result, str)}

    def _compute(
        self, process: Callable[[masks.Reader, Media], np.ndarray], items: list[tuple[Media, str]]
    ) -> list[tuple[str, np.ndarray | str]]:
        """Return digests of samples of one file with their pixels, one row per slot, or with faults."""
        reader = masks.Reader()
        return [(digest, self._pixels(process, reader, media, digest)) for media, digest in items]

    def _pixels(
        self,
        process: Callable[[masks.Reader, Media], np.ndarray],
        reader: masks.Reader,
        media: Media,
        digest: str,
    ) -> np.ndarray | str:
        try:
            # The same bytes are hashed and decoded, so the file cannot change in between.
            if self._digest(reader, media) != digest:
                return f"{media.path}: changed since it was listed; run again once it stays unchanged"
            return process(reader, media)
        except UnreadableImageError as error:
            return str(error)

    def _picture(self, reader: masks.Reader, media: Media) -> np.ndarray:
        kept, file = None, reader.images(media.path)
        if self.preprocess.crop == "mask":
            whole = file.inspect(media.view.uncut)[1]
            used = media.view.rectangle(whole, media.path)
            pixels, kept = used.of(whole), reader.kept(media, whole.shape, used, self.preprocess)
        else:
            pixels = file.inspect(media.view)[1]
        return self.processed(pixels, kept)

    def processed(self, pixels: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """Return the pixels of an image as they are stored, uint8 (1, H, W) or (1, H, W, 3).

        Args:
            pixels: The decoded image, uint8 (H, W) or (H, W, 3).
            kept: For a crop to the mask: which pixels it keeps, bool (H, W).
        """
        if self.preprocess.channels == 1:
            pixels = to_grey(pixels)
        elif pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, axis=-1)
        return self.preprocess(pixels, kept)[None]

    def _mask(self, reader: masks.Reader, media: Media) -> np.ndarray:
        found = reader.labelled(media)
        return self.preprocess.mask(found.labels, found.image)[None]

    def _clip(self, reader: masks.Reader, media: Media) -> np.ndarray:
        content = reader.images(media.path).content
        return self.preprocess.clip(decode_clip(content, media.path, media.view).frames)

    def _digest(self, reader: masks.Reader, media: Media) -> str:
        """Return the SHA-256 that names the pixels of a sample, from the bytes of its file."""
        if media.labelled is not None:
            return reader.digest(media)
        if self.preprocess.crop == "mask":
            return reader.cropped_digest(media)
        return media.view.digest(reader.images(media.path).sha256)

    def append(self, done: list[tuple[str, np.ndarray]]) -> None:
        """Store the pixels of samples by their digest, uint8 (T, H, W); of an image, T is 1.

        Raises:
            StorageError: The disk is full; nothing is then stored.
        """
        try:
            pixels = b"".join(pixels.tobytes() for _, pixels in done)
            _append(self.pixels_path, pixels, self.lasting)
            _append(self._index_path, b"".join(starmap(_packed, done)), self.lasting)
        except OSError as error:
            self._cut_tail()
            if is_full(error):
                raise StorageError(self._full(len(done))) from error
            raise

    def _cut_tail(self) -> None:
        """Cut the files after the last sample that has all its pixels and its record."""
        _, slots = self._records()
        count = int(slots[-1]) + 1 if len(slots) else 0
        for path, length in (
            (self._index_path, count * RECORD),
            (self.pixels_path, count * self._slot_bytes),
        ):
            if _size(path) > length:
                os.truncate(path, length)

    def _check_space(self, images: int) -> None:
        """Raise a StorageError if this number of images does not fit on the disk."""
        if shutil.disk_usage(self.folder).free < images * (self._slot_bytes + RECORD):
            raise StorageError(self._full(images))

    def _full(self, images: int) -> str:
        """Return the message that the disk is full."""
        needed = images * (self._slot_bytes + RECORD) / 2**20
        return (
            f"The pixel store {self.folder} needs {needed:.1f} MiB for {images} images, but "
            f"{full_disk(self.folder)}. Free some space, or set another paths.cache."
        )

    def _write_settings(self) -> None:
        part = self.folder / "settings.json.part"
        part.write_text(json.dumps(asdict(self.preprocess), indent=2) + "\n")
        part.replace(self.folder / "settings.json")


def _packed(digest: str, pixels: np.ndarray) -> bytes:
    """Return the records of the consecutive slots of one sample, given its pixels, one row per slot."""
    record = LAYOUT.pack(bytes.fromhex(digest), len(pixels), zlib.crc32(pixels.tobytes()), 0)
    record = record[:-4] + zlib.crc32(record[:-4]).to_bytes(4, "little")
    return bytes(RECORD * (len(pixels) - 1)) + record


def _append(path: Path, content: bytes, synced: bool) -> None:
    """Append to a file; if `synced`, wait until the content is on the disk."""
    with path.open("ab") as file:
        file.write(content)
        if synced:
            file.flush()
            os.fsync(file.fileno())


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _and_copies(count: int) -> str:
    return f" (and {count - 1} identical copies)" if count > 1 else ""
