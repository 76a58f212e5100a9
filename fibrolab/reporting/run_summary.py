"""The summary of a run as Markdown: MLflow shows it as the description of the run."""

from fibrolab import keys
from fibrolab.reporting import numbers, run_sentences
from fibrolab.reporting.numbers import Row
from fibrolab.runs.trained_run import Run

FILES = {
    keys.REPORT_FILE: "report",
    keys.AUDIT_PAGE: "audit of the data",
    keys.METRICS_FILE: "all metrics with their intervals and baselines",
    keys.PREDICTIONS_FILE: "probabilities of every sample",
}


def markdown(run: Run) -> str:
    """Return verdict of the audit, cautions, and headline metrics with intervals and baselines.

    Args:
        run: A run that was evaluated.
    """
    level = float(run.setting("bootstrap.level", 0.95))
    parts = ["**A test of the command, not a result.**"] if run_sentences.is_trial(run) else []
    if verdict := run_sentences.verdict(run):
        parts.append(f"**Audit {verdict.word}.** {verdict.meaning}")
    parts += [f"- {_text(caution.text)}" for caution in run_sentences.cautions(run) if caution.grave]
    parts += filter(None, [run_sentences.scored_before(run)])
    for name, metrics, baselines in (
        ("Test, by sample", run.metrics, run.baselines),
        ("Test, by patient", run.patients, None),
    ):
        if metrics is not None:
            parts.append(_table(name, numbers.headline(metrics, baselines), numbers.percent(level)))
    there = [f"- `{name}`: {text}" for name, text in FILES.items() if (run.folder / name).is_file()]
    return "\n\n".join([*parts, "\n".join(["Among the artifacts:", "", *there])])


def _table(name: str, rows: list[Row], level: str) -> str:
    lines = [f"| {name} | value | {level} CI | baseline | |", "|---|---:|---|---|---|"]
    for row in rows:
        cells = (row.title, row.value_text, row.interval_text, row.baseline_text or "not known", row.verdict)
        lines.append(f"| {' | '.join(map(_text, cells))} |")
    return "\n".join(lines)


def _text(text: str) -> str:
    """Return a text whose signs Markdown and HTML show instead of obeying: class names are the user's."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
