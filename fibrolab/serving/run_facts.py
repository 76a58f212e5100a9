"""Facts of the served run beside its answers: test numbers with intervals, the verdict of its audit."""

from typing import Any

from fibrolab import keys
from fibrolab.reporting import answers_page, numbers, run_sentences
from fibrolab.runs import answering, checkpoint, trained_run
from fibrolab.serving.staging import Staging


def of(staging: Staging) -> dict[str, Any]:
    """Return what a page or a client needs to know of the run before the first answer."""
    run = trained_run.read(staging.run.folder)
    rules, of_patients = (staging.rules[level] for level in (answering.SAMPLE, answering.PATIENT))
    network = staging.network
    verdict = run_sentences.verdict(run)
    references = [each.reference for each in staging.run.predictors]
    compares = all(each is not None and each.can_tell for each in references)
    reading = answers_page.reading(staging.rules, len(staging.run.predictors) > 1, compares)
    if staging.cases is not None:
        reading.append(answers_page.Neighbours({}, staging.cases.data, staging.cases.hashed).reading)
    return {
        "run": staging.run.run_id or str(staging.run.folder),
        "name": str(run.setting("name", "")),
        "use": answering.USE,
        "classes": list(rules.classes),
        "ordered": rules.ordered,
        "inputs": staging.visual,
        "clinical": list(network.module.clinical_columns),
        "needed": checkpoint.needed_by(staging.run.predictors),
        "films": keys.CLIP in staging.visual,
        "end_points": [
            {
                "name": name,
                "positive": staging.end_points[name],
                "threshold": rules.thresholds.get(name),
                "patient_threshold": of_patients.thresholds.get(name),
            }
            for name in rules.endpoints
        ],
        "coverage": staging.coverage,
        "networks": len(staging.run.predictors),
        "reading": reading,
        "cases_of": None if staging.cases is None else staging.cases.data,
        "audit": verdict and {"level": verdict.level, "word": verdict.word, "meaning": verdict.meaning},
        "cautions": [caution.text for caution in run_sentences.cautions(run) if caution.grave],
        "level": numbers.percent(float(run.setting("bootstrap.level", 0.95))),
        "metrics": _metrics(run),
    }


def _metrics(run: trained_run.Run) -> list[dict[str, Any]]:
    """Return the headline metrics of the test samples and patients, as the report shows them."""
    found = []
    for level, table, baselines in (
        ("samples", run.metrics, run.baselines),
        ("patients", run.patients, None),
    ):
        for row in numbers.headline(table, baselines) if table is not None else ():
            text = {"value": row.value_text, "interval": row.interval_text, "baseline": row.baseline_text}
            found.append({"level": level, "title": row.title, **text})
    return found
