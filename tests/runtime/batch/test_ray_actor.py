"""What a worker of a cluster does, without Ray."""

import shutil

import pytest

from sa.runtime.batch.job import Job, Outcome
from sa.runtime.batch.ray_actor import NodeWorker, local_copy
from sa.runtime.batch.ray_cluster import Need, ray_workers
from sa.runtime.batch.worker import WorkerConfig
from sa.runtime.engine_set.open import EngineSet
from sa.runtime.errors import EngineSetError
from sa.runtime.pipeline.settings import Settings


class Handles:
    """Ray's answer on its nodes, and a note of the actors that were asked for."""

    def __init__(self, *resources):
        self._nodes = [{"Alive": True, "Resources": one} for one in resources]
        self._nodes.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
        self.asked = []

    def nodes(self):
        return self._nodes

    def remote(self, **options):
        self.asked.append(options)

        class Actor:
            remote = staticmethod(lambda *given: None)

        return lambda worker: Actor


CONFIG = WorkerConfig("engines", "0" * 64, "cpu", 1, False, None)


def test_one_worker_for_each_gpu_or_node_by_default():
    ray = Handles({"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0})
    assert [one.name for one in ray_workers(ray, CONFIG, None, None, 1, 0, None)] == ["actor-1", "actor-2", "actor-3"]
    assert {(one["num_cpus"], one["num_gpus"]) for one in ray.asked} == {(4, 1)}
    ray = Handles({"CPU": 8.0, "memory": 9e9}, {"CPU": 6.0, "memory": 9e9})
    assert len(ray_workers(ray, CONFIG, None, None, 0, 10**9, None)) == 2
    assert {(one["num_cpus"], one["num_gpus"], one["memory"]) for one in ray.asked} == {(6, 0, 10**9)}


def test_workers_that_do_not_fit_are_refused_with_the_number_that_does():
    ray = Handles({"CPU": 8.0, "memory": 4e9}, {"CPU": 8.0, "memory": 2.5e9})
    with pytest.raises(EngineSetError, match=r"4 workers need 1 CPUs and .* room for 3: give --workers 3\.$"):
        ray_workers(ray, CONFIG, 4, 1, 0, 2 * 10**9, None)
    with pytest.raises(EngineSetError, match="room for 0: give fewer --threads"):
        ray_workers(ray, CONFIG, 1, 32, 0, 0, None)
    assert not ray.asked


def test_what_fits_on_a_node_is_bounded_by_what_is_scarcest():
    assert Need(2, 1, 0).fit({"CPU": 8.0, "GPU": 3.0}) == 3
    assert Need(2, 1, 0).fit({"CPU": 8.0}) == 0
    assert Need(1, 0, 3).fit({"CPU": 8.0, "memory": 10.0}) == 3


def test_a_node_that_does_not_see_the_results_says_so(tmp_path):
    job = Job("a", tmp_path, tmp_path / "nowhere" / "a", Settings())
    outcome = Outcome.from_json(NodeWorker(CONFIG.to_json(), None).run(job.to_json()))
    assert outcome.state == "failed" and "give --out a folder that all nodes share" in str(outcome.reason)
    assert not (tmp_path / "nowhere").exists()


def test_an_engine_set_is_copied_once_to_a_node_and_checked_there(engines, tmp_path):
    source = engines("recipe_basic", "onnxruntime")
    digest = EngineSet.open(source).digest
    place = local_copy(source, digest, tmp_path / "copies")
    assert place == tmp_path / "copies" / digest and EngineSet.open(place, verify=True).digest == digest
    stamp = (place / "manifest.json").stat().st_ino
    assert local_copy(tmp_path / "gone", digest, tmp_path / "copies") == place
    assert (place / "manifest.json").stat().st_ino == stamp


def test_a_copy_that_differs_gets_no_place(engines, tmp_path):
    source = engines("recipe_basic", "onnxruntime")
    spoiled = tmp_path / "spoiled"
    shutil.copytree(source, spoiled)
    digest = EngineSet.open(source).digest
    weights = spoiled / "unet.weights"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(EngineSetError):
        local_copy(spoiled, digest, tmp_path / "copies")
    with pytest.raises(EngineSetError):
        local_copy(source, "0" * 64, tmp_path / "copies")
    assert [path for path in (tmp_path / "copies").iterdir() if path.suffix != ".lock"] == []
