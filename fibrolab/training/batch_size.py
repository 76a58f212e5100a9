"""The largest batch that fits on the device, for `batch_size=auto`."""

import copy
import warnings
from collections.abc import Callable
from itertools import islice

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import default_collate

from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.errors import ConfigError
from fibrolab.modules.base import Batch, TrainedModule

AUTO = "auto"
USUAL = 32  # for which the learning rates of `conf/` were chosen
MARGIN = 0.1  # proportion of the device's memory that stays free, for fragmentation and other processes
COPIES = 3  # of the parameters, beside their gradients: two moments of Adam and a moving average
SAMPLES = 32  # real ones, which a larger batch repeats
LAST_EPOCH = 2**31  # after every scheduled unfreezing
_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def check_auto(batch_size: int | str, accelerator: str) -> None:
    """Refuse `batch_size=auto` where the memory has no limit that could be found.

    Raises:
        ConfigError: The training would not be on a CUDA device.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if batch_size == AUTO and not on_gpu:
        raise ConfigError(
            "batch_size=auto finds the largest batch that fits into the memory of a GPU, and this run is not "
            "on one; the memory of a CPU has no such limit. Give a number, such as batch_size=32."
        )


def largest_batch(
    module: TrainedModule, datamodule: FibrosisDataModule, device: torch.device, precision: str = "32-true"
) -> int:
    """Return the largest batch with which training steps fit on a device, at most the training set.

    Steps are forward and backward passes of a copy of the module, as in its last epoch, when most parameters
    train, on augmented training samples. Sizes are powers of two, or 1.5 times one. The module, its buffers
    and all random states stay as they are.

    Args:
        module: The module, on the CPU or on the device.
        datamodule: Its data; `prepare_data` was called.
        device: The device, free of other training.
        precision: `trainer.precision`.

    Raises:
        ConfigError: Not even two samples fit.
    """
    loader = datamodule.train_dataloader()
    order = loader.sampler
    samples = default_collate([loader.dataset[key] for key in islice(order, SAMPLES)])
    most = len(order)  # type: ignore[arg-type]
    with isolate_rng(), warnings.catch_warnings(action="ignore"):  # `self.log` asks for a trainer
        trained = copy.deepcopy(module).to(device).train()
        trained.network.at_epoch(LAST_EPOCH)
        free = _margin(trained, device)

        def fits(size: int) -> bool:
            held = _try(trained, datamodule, samples, size, device, precision)
            trained.zero_grad()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            return held

        found = search(fits, most)
        del free
    if found is None:
        raise ConfigError(
            f"batch_size=auto: not even two samples fit on {device}. Choose a smaller preprocess.size or "
            "model, or trainer.precision=bf16-mixed."
        )
    return found


def search(fits: Callable[[int], bool], most: int) -> int | None:
    """Return the largest size up to `most` that fits, among powers of two, 1.5 times one, and `most`.

    Returns:
        The size, more than 2/3 of the largest that would fit; None if not even two fit.
    """
    size = min(2, most)
    if not fits(size):
        return None
    while size < most:
        larger = min(2 * size, most)
        if not fits(larger):
            between = size * 3 // 2
            return between if size < between < larger and fits(between) else size
        size = larger
    return size


def _margin(module: TrainedModule, device: torch.device) -> torch.Tensor:
    """Return memory that the steps must leave free: copies of the parameters, and `MARGIN` of the device."""
    copies = COPIES * sum(each.nbytes for each in module.parameters() if each.requires_grad)
    total = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else 0
    return torch.empty(copies + int(MARGIN * total), dtype=torch.uint8, device=device)


def _try(
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    samples: Batch,
    size: int,
    device: torch.device,
    precision: str,
) -> bool:
    """Return whether two steps fit; in the second one, the gradients of the first take memory too."""
    rows = torch.arange(size) % len(next(iter(samples.values())))
    try:
        for number in range(2):
            batch = {name: values[rows] for name, values in samples.items()}
            batch = datamodule.transfer_batch_to_device(batch, device, 0)
            batch = datamodule.on_after_batch_transfer(batch, 0)
            with torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST):
                loss = module.training_step(batch, number)
            loss.backward()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or is_oom_error(error):
            return False
        raise
    return True
