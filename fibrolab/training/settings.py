"""Check the settings of a training run that can be judged without torch, before it is imported."""

from collections.abc import Callable

from omegaconf import DictConfig

from fibrolab import allowed, loading
from fibrolab.choices import refuse, refuse_all
from fibrolab.config import arguments, removed_settings_named, resolved
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.preprocess import Preprocess
from fibrolab.evaluation import endpoints
from fibrolab.evaluation.comparison import published_results
from fibrolab.targets import call


@removed_settings_named()
def check(config: DictConfig) -> None:
    """Refuse settings of `conf/train.yaml` with which loading, training or evaluation would fail later.

    Raises:
        ConfigError: A value is out of range, settings contradict each other, a name is unknown, or a file or
            folder does not exist.
    """
    settings = resolved(config)
    refuse(list(allowed.faults(settings).values()) + published_results.faults(settings["published"]))
    task = settings["task"]
    attempts: list[Callable[[], object]] = [
        lambda: loading.check(config),
        lambda: call(Preprocess, "preprocess", **arguments(config.preprocess)),
        lambda: call(Segment, "segment", **settings["segment"]),
    ]
    if task["classes"] is not None:
        attempts.append(lambda: endpoints.check(task["endpoints"], task["classes"], task["ordered"]))
    refuse_all(attempts)
