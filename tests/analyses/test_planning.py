"""`python -m fibrolab.plan`: from settings to a number of patients."""

import subprocess
import sys

import commanded
import pytest
import yaml
from compose import composed

from fibrolab import config
from fibrolab.analyses import planning
from fibrolab.errors import ConfigError
from fibrolab.evaluation.intervals import sample_size


def plan(*words, where=None, code=0):
    done = commanded.command("plan", *words, where=where)
    assert done.returncode == code, done.stderr
    return done


def rows(**settings):
    return list(planning.requirements(planning.read(settings)))


def test_the_command_of_the_config_file_prints_patients_and_writes_nothing(tmp_path):
    first = (config.folder() / "plan.yaml").read_text().splitlines()[0]
    words = first.split("python -m fibrolab.plan ")[1].split()
    done = plan(*words, where=tmp_path)
    (row,) = rows(auc=0.85, against=0.75, prevalence=0.4)
    assert (row.positives, row.negatives) == (66, 99)
    for word in ("AUC 0.85 above 0.75", " 165 ", " 66 ", " 99 ", "power 0.8", "assumed to be known"):
        assert word in done.stdout
    assert not list(tmp_path.iterdir())


def test_wrong_settings_are_all_named_without_a_traceback(tmp_path):
    done = plan("auc=1.2", "against=high", "prevalence=0", "icc=2", code=1)
    for word in ("4 settings", "auc=1.2", "against=high", "prevalence=0", "icc=2", "from 0 to 1"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "Did you mean 'share'?" in plan("shar=0.8", code=1).stderr


def test_a_plan_needs_none_of_the_slow_libraries():
    code = "import sys; from fibrolab.analyses import planning; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "mlflow", "lightning", "matplotlib"} & set(loaded.stdout.split())


def test_the_settings_of_the_file_are_those_of_a_study():
    shown = yaml.safe_load((config.folder() / "plan.yaml").read_text())
    kept = {name: value for name, value in shown.items() if name not in ("defaults", "hydra")}
    assert kept == vars(planning.Study())
    assert planning.read(config.resolved(composed("share=0.8", "half_width=0.05", name="plan"))).share == 0.8


def test_every_goal_has_a_row():
    found = rows(auc=0.85, half_width=0.05, against=0.7, other=0.8, prevalence=0.5)
    assert [row.question for row in found] == [
        "AUC 0.85 ± 0.05",
        "AUC 0.85 above 0.7",
        "AUC 0.85 different from 0.8",
    ]
    assert all(row.positives + row.negatives == row.patients == row.enrol for row in found)


def test_stages_give_a_row_for_each_end_point_of_an_auc_and_each_stage_of_a_proportion():
    stages = [0.3, 0.2, 0.2, 0.15, 0.15]
    areas = rows(auc=0.9, half_width=0.05, stages=stages)
    assert [row.question.split(", ")[1] for row in areas] == [
        "F1 or worse",
        "F2 or worse",
        "F3 or worse",
        "F4",
    ]
    assert areas[1] == rows(auc=0.9, half_width=0.05, prevalence=0.5)[0]._replace(question=areas[1].question)
    sensitivities = rows(share=0.8, half_width=0.1, stages=stages)
    assert [row.question.split(", ")[1] for row in sensitivities] == ["F0", "F1", "F2", "F3", "F4"]
    needed = sample_size.proportion_within(0.8, 0.1)
    assert {row.positives for row in sensitivities} == {-int(-needed // 1)}
    assert sensitivities[4].patients == -int(-sensitivities[4].positives / 0.15 // 1)


def test_rows_of_a_patient_and_drop_outs_change_the_number_to_enrol():
    alone = rows(share=0.8, half_width=0.05)[0].patients
    assert rows(share=0.8, half_width=0.05, rows_per_patient=5, icc=1)[0].patients == alone
    assert rows(share=0.8, half_width=0.05, rows_per_patient=5, icc=0)[0].patients == pytest.approx(
        alone / 5, abs=1
    )
    lossy = rows(share=0.8, half_width=0.05, dropout=0.2)[0]
    assert lossy.patients == alone
    assert lossy.enrol == pytest.approx(alone / 0.8, abs=1)


@pytest.mark.parametrize("measure", ["auc", "share"])
def test_two_cohorts_need_more_patients_each_than_two_arms_on_the_same(measure):
    settings = {measure: 0.9, "other": 0.85, "prevalence": 0.5}
    (paired,), (apart,) = rows(**settings), rows(**settings, paired=False)
    assert apart.patients > paired.patients
    assert "each cohort" in apart.question


def test_assumptions_are_listed_and_a_small_study_is_called_inaccurate():
    study = planning.read({"auc": 0.95, "against": 0.6, "prevalence": 0.1, "rows_per_patient": 3})
    text = " ".join(planning.assumptions(study, list(planning.requirements(study))))
    for word in ("Hanley and McNeil", "inaccurate here", "design effect 2", "rows_per_patient=1"):
        assert word in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "either auc or share"),
        ({"auc": 0.8, "share": 0.8, "half_width": 0.1}, "either auc or share"),
        ({"share": 0.8}, "has no goal"),
        ({"auc": 0.8, "half_width": 0.1}, "An AUC needs a prevalence"),
        ({"auc": 0.8, "against": 0.8, "prevalence": 0.5}, "against=0.8 equals auc"),
        ({"share": 0.8, "other": 0.8}, "other=0.8 equals share"),
        (
            {"auc": 0.8, "half_width": 0.1, "prevalence": 0.5, "stages": [0.5, 0.5]},
            "either prevalence or stages",
        ),
        ({"auc": 0.8, "half_width": 0.1, "stages": [0.5, 0.6]}, "add up to 1"),
        ({"auc": 0.8, "half_width": 0.1, "stages": 0.5}, "add up to 1"),
        ({"auc": 0.8, "half_width": 0.1, "stages": [0.5, "x"]}, "add up to 1"),
        ({"share": 0.95, "other": 0.6}, "0.35 to 0.45 of the patients"),
        ({"share": 0.9, "other": 0.8, "discordant": 0.05}, "discordant=0.05 is impossible"),
        ({"auc": 0.9, "other": 0.8, "discordant": 0.2, "prevalence": 0.5}, "applies to two proportions"),
        ({"share": 0.9, "half_width": 0.6}, "above 0 and below 0.5"),
        ({"share": 0.9, "half_width": 0.1, "power": 0.3}, "power=0.3"),
        ({"share": 0.9, "half_width": 0.1, "dropout": 1}, "dropout=1"),
        ({"share": 0.9, "half_width": 0.1, "rows_per_patient": 0}, "rows_per_patient=0"),
        ({"share": True, "half_width": 0.1}, "share=True"),
        ({"shares": 0.9}, "Did you mean share"),
    ],
)
def test_a_study_that_cannot_be_planned_is_refused_in_a_sentence(settings, words):
    with pytest.raises(ConfigError, match=words):
        planning.read(settings)
