"""Requirements of each job on its samples, stated once and checked by `Manifest.require`.

Every sample needs an image, a clip or an elastogram, except where the job reads no pixels
(`Manifest.pictured`). Which of them depends on the network's inputs and is checked by
`fibrolab.data.input_check`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """Requirements of one job on every sample.

    Attributes:
        job: Name of the job, the subject of the error message.
        label: Whether every sample must have a label.
        trained: Whether the classes must be those of a trained network.
        mask: Whether every sample must have a mask.
    """

    job: str
    label: bool = True
    trained: bool = False
    mask: bool = False


TRAIN = Needs("Training")
SEGMENT = Needs("Segmentation", label=False, mask=True)
AUDIT = Needs("The audit")
EVALUATE = Needs("Evaluation", trained=True)
PREDICT = Needs("Prediction", label=False, trained=True)
MARKERS = Needs("The scoring of markers")
