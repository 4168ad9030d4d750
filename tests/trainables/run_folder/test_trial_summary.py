"""A trial's epochs in short, and when they are read again."""

import json

import pytest

from results_analysis.runs.run import load
from tests.results_analysis.runs.test_run import report, reports_of, write_run
from trainables.core.vocabulary import Flag, TrialStatus
from trainables.run_folder.layout import RunFileError, RunLayout
from trainables.run_folder.trial_columns import best_report, listed
from trainables.run_folder.trial_record import TrialRecord, read_record
from trainables.run_folder.trial_summary import TrialSummary, summary_in


def lines(*reports):
    return "".join(f"{each.to_json()}\n" for each in reports)


@pytest.fixture
def folder(tmp_path):
    return RunLayout(write_run(tmp_path / "r", [{"scores": [0.2, 0.6, 0.4]}])).trial(0)


def end(folder):
    """What the driver does when a trial ends."""
    ended = {"status": TrialStatus.FINISHED, "summary": summary_in(folder.epochs)}
    read_record(folder).model_copy(update=ended).write(folder)


def test_a_summary_tells_the_best_epoch_the_flags_and_the_sums(folder):
    reports = reports_of([0.2, 0.6, 0.4])
    flagged = [report(4, 0.1, best=(2, 0.6), flags=(Flag.SPIKE, Flag.GAP), cache_s=0.5, stopped_for=Flag.SPIKE)]
    folder.epochs.write_text(lines(*reports, *flagged))
    summary = summary_in(folder.epochs)
    assert (summary.score, summary.best_epoch, summary.epochs, summary.stage) == (0.6, 2, 4, "top")
    assert (summary.metrics["kappa"], summary.metrics["val_loss"]) == (0.6, 1.4)
    assert (summary.flags, summary.flags_at_best, summary.stopped_for) == ("spike, gap", "", "spike")
    assert (summary.train_s, summary.val_s, summary.cache_s, summary.compute) == (8.0, 4.0, 0.5, 4000.0)


def test_compute_is_the_last_epochs_where_reports_tell_it(folder):
    reports = [json.loads(each.to_json()) | {"compute": 10.0 * n} for n, each in enumerate(reports_of([0.2, 0.6]), 1)]
    folder.epochs.write_text("".join(f"{json.dumps(each)}\n" for each in reports))
    assert summary_in(folder.epochs).compute == 20.0


def test_compute_of_inherited_epochs_was_another_trials(folder):
    lines = [
        json.loads(each.to_json()) | {"compute": 10.0 * n, "inherited": n <= 2}
        for n, each in enumerate(reports_of([0.2, 0.6, 0.4]), 1)
    ]
    for done, own in ((3, 10.0), (2, 0.0)):
        folder.epochs.write_text("".join(f"{json.dumps(each)}\n" for each in lines[:done]))
        assert (summary_in(folder.epochs).compute, summary_in(folder.epochs).epochs) == (own, done)


def test_no_epochs_have_an_empty_summary(tmp_path):
    summary = summary_in(tmp_path / "epochs.jsonl")
    assert (summary.score, summary.epochs, summary.flags, summary.train_s) == (None, 0, None, 0.0)
    assert summary.row()["kappa"] is None


def test_a_table_is_the_same_with_summaries_and_without(folder):
    run = load(folder.root.parent.parent)
    before = run.trials()
    end(folder)
    assert read_record(folder).summary is not None
    assert run.trials().equals(before)


def test_a_recorded_summary_spares_the_epochs(folder, monkeypatch):
    end(folder)
    monkeypatch.setattr("trainables.run_folder.trial_summary.read_epochs", lambda file: pytest.fail(f"{file} was read"))
    assert read_record(folder).summary_now(folder).score == 0.6


def test_epochs_that_were_written_since_are_read(folder):
    end(folder)
    with folder.epochs.open("a") as file:
        file.write(lines(report(4, 0.9)))
    assert read_record(folder).summary_now(folder).score == 0.9


def test_a_recorded_summary_outlives_the_epochs_file(folder):
    end(folder)
    folder.epochs.unlink()
    assert read_record(folder).summary_now(folder).score == 0.6


def test_a_trial_that_is_taken_up_again_has_no_summary_until_it_ends(folder):
    end(folder)
    old = read_record(folder)
    TrialRecord(number=0, params={}, status=TrialStatus.RUNNING, started=old.started).write(folder)
    folder.epochs.write_text(lines(*reports_of([0.9])))
    assert read_record(folder).summary_now(folder).score == 0.9


def test_records_of_before_have_neither_summary_nor_objectives(folder):
    record = read_record(folder)
    assert (record.summary, record.objectives) == (None, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kappa": "high"}, r"epochs\.jsonl: metrics\.kappa: 'high': input should be a number"),
        ({"best_epoch": None}, r"epochs\.jsonl:1: the epoch report has 'None' for best_epoch"),
        ({"flags": "gap"}, r"epochs\.jsonl:1: the epoch report has 'gap' for flags"),
        ({"val_s": "soon"}, r"epochs\.jsonl:1: the epoch report has 'soon' for val_s"),
        ({"stopped_for": 3}, r"epochs\.jsonl: stopped_for: 3: input should be text"),
    ],
)
def test_values_of_a_wrong_kind_are_refused_by_file(folder, changes, message):
    folder.epochs.write_text(json.dumps(json.loads(report(1, 0.5).to_json()) | changes) + "\n")
    with pytest.raises(RunFileError, match=message):
        summary_in(folder.epochs)


@pytest.mark.parametrize(
    ("raised", "text"), [((), ""), (("gap", "spike", "gap"), "spike, gap"), (("unknown", "nan"), "nan")]
)
def test_flags_are_listed_once_in_their_order(raised, text):
    assert listed(raised) == text


def test_a_summary_survives_its_file(folder):
    end(folder)
    assert TrialSummary.model_validate_json(read_record(folder).summary.model_dump_json()) == summary_in(folder.epochs)


def test_a_recorded_summary_that_lacks_a_column_has_it_from_the_epochs(folder):
    end(folder)
    whole = json.loads(folder.trial.read_text())
    for name in whole["summary"]:
        lacking = {key: value for key, value in whole["summary"].items() if key != name}
        folder.trial.write_text(json.dumps(whole | {"summary": lacking}))
        assert read_record(folder).summary_now(folder) == summary_in(folder.epochs)


def test_a_recorded_summary_that_lacks_a_column_is_all_there_is_without_epochs(folder):
    end(folder)
    whole = json.loads(folder.trial.read_text())
    del whole["summary"]["train_s"], whole["summary"]["stage"]
    folder.trial.write_text(json.dumps(whole))
    folder.epochs.unlink()
    row = read_record(folder).summary_now(folder).row()
    assert (row["score"], row["train_s"], row["stage"]) == (0.6, 0.0, None)


@pytest.mark.parametrize(
    ("best", "epoch"),
    [((), None), ((1,), 1), ((1, 1, 3, 3), 3), ((0, 0), None)],
    ids=["none", "1", "later", "unscored"],
)
def test_the_report_of_the_best_epoch(best, epoch):
    reports = [{"epoch": n, "best_epoch": of} for n, of in enumerate(best, start=1)]
    found = best_report(reports)
    assert (None if found is None else found["epoch"]) == epoch
