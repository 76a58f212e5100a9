"""Published weights from the local cache or a download; without a network, an error within seconds.

Without a network, the download functions of timm and torchvision retry for minutes. The functions here send
one request with a short time limit first, and start the download only if the server responds.
"""

import os
from pathlib import Path
from urllib.request import urlopen

import torch

from fibrolab.errors import WeightsError
from fibrolab.time_limits import call_within

FILE = "model.safetensors"
ADVICE = (
    "Give a file (weights=FILE) or an earlier run (weights=run:ID) for this branch, put the file as "
    "NAME.safetensors into a folder and name that by $FIBROLAB_WEIGHTS, or start all branches from random "
    "weights with pretrained=false."
)
FOLDER = "FIBROLAB_WEIGHTS"  # environment variable: folder of weights files for machines without a network
TIMEOUT = 4.0  # [s], after which a server that has not responded counts as unreachable


def own_weights(name: str) -> Path | None:
    """Return the file `NAME.safetensors` of the folder `$FIBROLAB_WEIGHTS`; None if there is none.

    Args:
        name: Name of a network, as `model.branches.NAME.name` gives it.
    """
    folder = os.environ.get(FOLDER)
    path = Path(folder).expanduser() / f"{name}.safetensors" if folder else None
    return path if path is not None and path.is_file() else None


def timm_weights(name: str) -> Path:
    """Return the weights file that timm publishes for a network, from the local cache or the hub.

    ``HF_HUB_OFFLINE`` and proxies are honoured.

    Args:
        name: Name in timm, with or without a tag, such as ``vgg16.tv_in1k``.

    Raises:
        WeightsError: timm publishes no weights for it, or the hub cannot be reached.
    """
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"pretrained: timm publishes no weights for {name}. {ADVICE}")
    repository, _, tag = config.hf_hub_id.partition("@")
    revision, file = tag or None, config.hf_hub_filename or FILE
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        address = hf_hub_url(repository, file, revision=revision)
        call_within(TIMEOUT, lambda: get_hf_file_metadata(address, timeout=TIMEOUT))
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as fault:  # errors of httpx, the OS or the hub: all mean that there is no file
        raise _unreachable(repository, fault) from fault


def torchvision_weights(url: str) -> Path:
    """Return a weights file that torchvision publishes, from torch's local cache or its server.

    Args:
        url: Address of the file, whose name ends in the first digits of its SHA-256.

    Raises:
        WeightsError: The server cannot be reached, or the downloaded file has another hash.
    """
    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    try:
        call_within(TIMEOUT, lambda: urlopen(url, timeout=TIMEOUT).close())
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
    except Exception as fault:  # errors of the URL, the OS or the hash: all mean that there is no file
        raise _unreachable(name, fault) from fault
    return path


def _unreachable(what: str, fault: Exception) -> WeightsError:
    reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    return WeightsError(
        f"pretrained: the weights {what} are not in the local cache and cannot be downloaded ({reason}). "
        f"{ADVICE}"
    )
