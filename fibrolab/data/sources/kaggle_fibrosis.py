"""The Kaggle liver fibrosis data set: one folder for each METAVIR stage, no patient ids, many copies.

Folder tree (as downloaded):

    ROOT/
      F0/  2,114 files      F1/  861      F2/  793      F3/  857      F4/  1,698

Source: "Liver Histopathology (Fibrosis) Ultrasound Images" on Kaggle, as cited by iLIVER 5(1), 100225, 2026:
kaggle.com/datasets/vibhingupta028/liver-histopathology-fibrosis-ultrasound-images (see there for its
licence). `data.download=true` downloads it from that address into `data.root`. Without a root it is looked
for in `$FIBROLAB_DATA/kaggle_fibrosis` and in the cache of kagglehub.

1,536 of the 6,323 files are distinct; the others are byte-identical copies, up to 18 of one image. All copies
of an image have the same stage. The stages come from two sources: 640 x 480 grey JPEG (all of F0, part of F1
and F4) and 449 x 464 RGB PNG (all of F2 and F3, part of F1 and F4), some under a `.jpg` name. 926 of the
distinct images have a copy named `ct{volume}-{frame}.png`, and look simulated from CT. A random 80/20 split
puts a copy of 96 % of its test images into training, or of 94 % if validation takes a tenth of all. The group
that must stay in one partition is the CT volume where a file name states it, which this module sets, joined
with the cluster of an image's copies and near copies, which is found when the pixels are read.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.manifest import Manifest
from fibrolab.data.progress import track
from fibrolab.data.readers import read_image
from fibrolab.data.sources.folder import WASTE, read_tree
from fibrolab.data.survey import borders
from fibrolab.errors import ConfigError, DataError, StorageError, UnreadableImageError
from fibrolab.processes import cores

STAGES = ("F0", "F1", "F2", "F3", "F4")
HANDLE = "vibhingupta028/liver-histopathology-fibrosis-ultrasound-images"  # the data set's address on Kaggle
_VOLUME = re.compile(r"ct(\d+)-\d+\.", re.IGNORECASE)
_ADDRESS = re.compile(r"[\w-]+/[\w-]+(/versions/\d+)?")
_REFUSALS = {
    401: "the token is not valid",
    403: "the token may not read it, or its terms were not accepted on its page",
    404: "there is no such data set (any more)",
}
SOURCE, VOLUME = "source", "volume"  # what `site` may name
SCANNER, VOLUMES = "scanner", "volumes"  # the two sources
BORDER = (
    0.05  # of the height: images of the first source have a black border of at least 6.7 % above, others none
)
_DEPTH = 3  # most folder levels between the root and the stage folders
_log = logging.getLogger(__name__)


def load(
    *,
    root: str | Path | None = None,
    site: str | None = None,
    download: bool = False,
    handle: str = HANDLE,
) -> Manifest:
    """Read the tree F0..F4.

    Args:
        root: Folder that holds the stage folders, directly or up to three folders deeper. None: the first of
            `$FIBROLAB_DATA/kaggle_fibrosis` and the cache of kagglehub that holds them.
        site: What the column `site` names, for `split=by_site` and `split=leave_one_site_out`. `source`: the
            images' source, `scanner` (with a black border) or `volumes`. `volume`: the same, but for files
            named after a CT volume this volume, such as `ct7`. None: nothing.
        download: Download the data set into `root`, or else into the cache of kagglehub, if it is not there.
        handle: The data set's address on Kaggle, OWNER/NAME.

    Raises:
        ConfigError: The download is not possible (kagglehub, its credentials or the data set are missing), or
            the root holds something else; `site` is another word.
        DataError: No such folder, or not all stage folders with images in each.
        StorageError: The download cannot be written.
    """
    if site not in (None, SOURCE, VOLUME):
        raise ConfigError(unknown("data.site", site, (SOURCE, VOLUME)))
    top = known_place(handle, download) if root is None else Path(root).expanduser().absolute()
    if root is None:
        _log.info("The images are taken from %s.", top)
    folder = _stage_folder(top)
    if folder is None and download:
        _fetch(top, handle)
        folder = _stage_folder(top)
    if folder is None and not top.is_dir():
        raise DataError(
            f"data.root={top} is not a folder; it must hold the stage folders {', '.join(STAGES)}. "
            "data.download=true downloads them from Kaggle."
        )
    table, classes, left_out = read_tree(folder or top, STAGES)
    names = table[keys.IMAGE]
    matches = [_VOLUME.match(name.rsplit("/", 1)[-1]) for name in names]
    volumes = [f"ct{match[1]}" if match else "" for match in matches]
    table[keys.GROUP_ID] = [volume or name for volume, name in zip(volumes, names, strict=True)]
    if site:
        sources = _sources(folder or top, names)
        table[keys.SITE] = sources if site == SOURCE else _with_volumes(sources, volumes)
    return Manifest(table, classes, "kaggle_fibrosis", folder or top, left_out)


def _sources(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the source of each image; empty for a file that cannot be read, which the survey reports."""
    paths = [folder / name for name in names]
    with ThreadPoolExecutor(cores()) as pool:
        return list(track(pool.map(_source, paths), len(paths), "Finding the source of images"))


def _with_volumes(sources: Iterable[str], volumes: Iterable[str]) -> list[str]:
    """Return the volume of each image of the second source; of a copy that is not named after it nothing."""
    return [volume if source == VOLUMES else source for source, volume in zip(sources, volumes, strict=True)]


def _source(path: Path) -> str:
    try:
        grey = to_grey(read_image(path))
    except UnreadableImageError:
        return ""
    return SCANNER if borders(grey)["border_top"] > BORDER else VOLUMES


def known_place(handle: str, download: bool = False) -> Path:
    """Find the data set where it is usually kept, or download it into the cache of kagglehub.

    Raises:
        ConfigError: It is not there, or the download is not possible.
        StorageError: The download cannot be written.
    """
    place = next(filter(_stage_folder, _usual_places(handle)), None)
    if place is None and download:
        _check_request(handle)
        try:
            place = _download(None, handle)
        except OSError as error:
            raise StorageError(
                f"The download cannot be written to the cache of kagglehub ({error})."
            ) from error
    if place is None:
        raise ConfigError(
            "data=kaggle_fibrosis found no images. Give their folder, which holds the stage folders "
            f"{', '.join(STAGES)}: data.root=DIR (or put it at $FIBROLAB_DATA/kaggle_fibrosis). The data set "
            f"is at kaggle.com/datasets/{handle}; data.download=true fetches it with your Kaggle token. To "
            "try everything without it: data=phantom."
        )
    return place


def _usual_places(handle: str) -> Iterator[Path]:
    """Yield the folders in which the data set is looked for; of the cache only complete downloads."""
    if own := os.environ.get("FIBROLAB_DATA"):
        yield Path(own).expanduser().absolute() / "kaggle_fibrosis"
    cache = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    downloads = cache / "datasets" / handle.partition("/versions/")[0]
    complete = [int(mark.stem) for mark in downloads.glob("*.complete") if mark.stem.isdigit()]
    for version in sorted(complete, reverse=True):
        yield downloads / "versions" / str(version)


def _stage_folder(top: Path) -> Path | None:
    """Find the folder nearest to the top that holds all stage folders.

    Raises:
        DataError: There are several at the same depth.
    """
    for depth in range(_DEPTH + 1):
        found = sorted(
            first.parent
            for first in top.glob("*/" * depth + STAGES[0])
            if _holds_stages(first.parent)
            and WASTE.isdisjoint(first.relative_to(top).as_posix().lower().split("/"))
        )
        if len(found) > 1:
            raise DataError(
                f"data.root={top} holds the stage folders more than once: {', '.join(map(str, found))}. Name "
                "the right one."
            )
        if found:
            return found[0]
    return None


def _holds_stages(folder: Path) -> bool:
    return all((folder / stage).is_dir() for stage in STAGES)


def _fetch(root: Path, handle: str) -> None:
    """Download the data set to a temporary folder, then move it, so that `root` is always complete."""
    _check_request(handle)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(
            f"data.download=true, but data.root={root} holds something else; give a new or an empty folder."
        )
    part = root.with_name(f"{root.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(part, handle)
        if root.exists():
            root.rmdir()
        part.rename(root)
    except OSError as error:
        raise StorageError(f"The download cannot be written to {root} ({error}).") from error


def _check_request(handle: str) -> None:
    """Refuse a download without an address, without kagglehub or without a token."""
    if not _ADDRESS.fullmatch(handle):
        raise ConfigError(f"data.handle={handle} is not an address of a Kaggle data set: OWNER/NAME.")
    by_hand = f"or download it from kaggle.com/datasets/{HANDLE} and give its folder as data.root."
    try:
        from kagglehub.config import get_kaggle_credentials
    except ImportError:
        raise ConfigError(
            f'data.download=true needs kagglehub: pip install "fibrolab[kaggle]"; {by_hand}'
        ) from None
    try:
        known = get_kaggle_credentials()
    except ValueError as error:  # kaggle.json is not valid
        raise ConfigError(f"Kaggle's credentials cannot be read: {error}.") from None
    if known is None:
        raise ConfigError(
            "data.download=true needs an account's token: make one at kaggle.com/settings/api and put it "
            "into KAGGLE_API_TOKEN or ~/.kaggle/access_token (an older one: KAGGLE_USERNAME and KAGGLE_KEY, "
            f"or ~/.kaggle/kaggle.json); {by_hand}"
        )


def _download(folder: Path | None, handle: str) -> Path:
    """Download into a folder, or into the cache of kagglehub; return where the files are."""
    import kagglehub
    import requests
    from kagglehub.exceptions import DataCorruptionError

    place: dict[str, Any] = {"output_dir": str(folder), "force_download": True} if folder else {}
    try:
        placed = Path(kagglehub.dataset_download(handle, **place))
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        reason = _REFUSALS.get(status, "try again later")
        raise ConfigError(
            f"Kaggle refuses data.handle={handle} with status {status}: {reason}; see "
            f"kaggle.com/datasets/{handle}."
        ) from None
    except requests.RequestException as error:
        raise ConfigError(
            f"Kaggle cannot be reached ({type(error).__name__}); download the data set on a machine with "
            "network access and give its folder as data.root."
        ) from None
    except (DataCorruptionError, BadZipFile, ValueError) as error:
        raise DataError(
            f"The download from Kaggle for data.handle={handle} is damaged ({error}); try again."
        ) from None
    if folder and placed != folder:  # notebooks of Kaggle and Colab attach data sets instead
        raise ConfigError(f"This notebook has the data set attached already: give data.root={placed}.")
    return placed
