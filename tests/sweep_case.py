"""A launcher of tests: each job is answered by a function instead of a training."""

from collections.abc import Callable, Generator, Iterable

from fibrolab.sweeps.jobs import Job, Result


def launched(answer: Callable[[Job], Result]) -> Callable[[Iterable[Job]], Generator[tuple[Job, Result]]]:
    def launch(jobs: Iterable[Job]) -> Generator[tuple[Job, Result]]:
        for job in jobs:
            yield job, answer(job)

    return launch
