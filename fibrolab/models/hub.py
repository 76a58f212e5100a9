"""Published weights, from the local cache or the Hugging Face hub, or a clear refusal within seconds."""

import threading
from collections.abc import Callable
from pathlib import Path

from fibrolab.errors import WeightsError

FILE = "model.safetensors"
PATIENCE = 4.0  # seconds until a hub that does not answer counts as out of reach


def published_weights(name: str) -> Path:
    """The file of the weights that timm publishes for a network: from the local cache, else from the hub.

    timm's own download tries again for minutes without a network; this one asks once, gives the hub a few
    seconds to answer, and only then starts to download. ``HF_HUB_OFFLINE`` and proxies are honoured.

    Args:
        name: timm name, with or without a tag, such as ``vgg16.tv_in1k``.

    Raises:
        WeightsError: timm publishes none, or the hub cannot be reached.
    """
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    mend = "Give a file with weights: PATH, or start from random values with pretrained: false."
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"pretrained: timm publishes no weights for {name}. {mend}")
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
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise WeightsError(
            f"pretrained: the weights {repository} are not in the local cache "
            f"and cannot be fetched ({reason}). {mend}"
        ) from fault


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
