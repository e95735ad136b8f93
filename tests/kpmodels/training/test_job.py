"""Failures on their way from a worker to the driver."""

import pickle

import pytest

from kpmodels.config import Experiment
from kpmodels.errors import UserError
from kpmodels.training.job import Job, note_failure, read_failure, real_parts


@pytest.fixture
def job(tmp_path):
    return Job(Experiment().model_dump(mode="json"), "data", str(tmp_path), "first", "fingerprint")


def test_a_users_mistake_arrives_as_it_was(job):
    note_failure(job, UserError("image x is broken", "remove it"))
    failure = read_failure(job)
    assert isinstance(failure, UserError)
    assert (failure.message, failure.remedy) == ("image x is broken", "remove it")


def test_a_bug_arrives_with_its_traceback(job):
    try:
        {}["missing"]
    except KeyError as error:
        note_failure(job, error)
    failure = read_failure(job)
    assert not isinstance(failure, UserError)
    assert "KeyError" in str(failure)
    assert "test_job.py" in str(failure)


def test_a_failure_of_another_attempt_is_none_of_ours(job, tmp_path):
    assert read_failure(job) is None
    note_failure(job, UserError("old"))
    assert read_failure(Job(job.experiment, job.data, job.folder, "second", job.fingerprint)) is None
    (tmp_path / "failure.json").write_text("{")
    assert read_failure(job) is None


def test_a_failure_that_cannot_be_written_is_no_failure_of_its_own(job, tmp_path):
    gone = Job(job.experiment, job.data, str(tmp_path / "gone"), "first", "")
    note_failure(gone, UserError("x"))
    assert read_failure(gone) is None


def test_what_travels_can_be_pickled(job):
    assert pickle.loads(pickle.dumps((job, real_parts))) == (job, real_parts)
    assert job.options() == Experiment()
