"""Published weights, from the local cache or the hub that serves them, or a clear refusal within seconds.

The libraries' own downloads try again for minutes without a network. These ask once, give the hub a few
seconds to answer, and only then start to download.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import torch

from fibrolab.errors import WeightsError

FILE = "model.safetensors"
MEND = "Give a file with weights: PATH, or start from random values with pretrained: false."
PATIENCE = 4.0  # seconds until a hub that does not answer counts as out of reach


def timm_weights(name: str) -> Path:
    """Return the file of weights that timm publishes for a network, from the local cache or the hub.

    ``HF_HUB_OFFLINE`` and proxies are honoured.

    Args:
        name: timm name, with or without a tag, such as ``vgg16.tv_in1k``.

    Raises:
        WeightsError: timm publishes none, or the hub cannot be reached.
    """
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"pretrained: timm publishes no weights for {name}. {MEND}")
    repository, _, tag = config.hf_hub_id.partition("@")
    revision, file = tag or None, config.hf_hub_filename or FILE
    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        address = hf_hub_url(repository, file, revision=revision)
        _within(PATIENCE, lambda: get_hf_file_metadata(address, timeout=PATIENCE))
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as fault:  # httpx, OS and hub errors alike mean that there is no file
        raise _out_of_reach(repository, fault) from fault


def torchvision_weights(url: str) -> Path:
    """Return a file of weights that torchvision publishes, from torch's local cache or its server.

    Args:
        url: Address of the file, whose name ends in the first digits of its SHA-256.

    Raises:
        WeightsError: The server cannot be reached, or what it sent is not that file.
    """
    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    try:
        _within(PATIENCE, lambda: urlopen(url, timeout=PATIENCE).close())
        path.parent.mkdir(parents=True, exist_ok=True)
        digits = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
    except Exception as fault:  # URL, OS and hash errors alike mean that there is no file
        raise _out_of_reach(name, fault) from fault
    return path


def _out_of_reach(what: str, fault: Exception) -> WeightsError:
    reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    return WeightsError(
        f"pretrained: the weights {what} are not in the local cache and cannot be fetched ({reason}). {MEND}"
    )


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Run `call`, but wait no longer than `seconds`: a name server that is silent ignores HTTP time limits.

    Raises:
        TimeoutError: It has not ended in time.
        Exception: Whatever `call` raised.
    """
    faults: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if faults:
        raise faults[0]
