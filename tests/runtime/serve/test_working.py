"""What a worker says of a job that it cannot do."""

import pytest

from sa.runtime.errors import InputError
from sa.runtime.serve.config import Config, EngineFolder
from sa.runtime.serve.store.database import Database
from sa.runtime.serve.store.work import Work
from sa.runtime.serve.worker.pipelines import Pipelines
from sa.runtime.serve.worker.working import Worker


@pytest.fixture
def config(tmp_path):
    return Config(engines=(EngineFolder("square", tmp_path / "square"),), data=tmp_path)


def test_a_job_for_engines_that_the_server_has_no_more_ends_in_a_sentence(config):
    with pytest.raises(InputError, match=r"^the server has no engine set 'portrait' any more: ask for another one\.$"):
        Pipelines(config, None).get("portrait")


def test_without_models_nothing_is_said_of_them(config, tmp_path):
    worker = Worker(config, Work(Database(tmp_path / "jobs.sqlite")), Pipelines(config, None))
    assert worker._public("None of the masks fits") == "None of the masks fits"
    assert worker._public(f"{tmp_path / 'square'} is damaged") == "square is damaged"
