"""Which recogniser an embedding is from: the face encoder knows one space alone."""

import pytest
from prepare_data import face_recogniser

from sa.runtime.errors import InputError
from sa.runtime.prepare.estimate import models
from sa.runtime.prepare.estimate.face_networks import FaceNetworks
from sa.runtime.system.hashing import sha256


@pytest.mark.parametrize("name", ["glintr100.onnx", "w600k_r50.onnx"])
def test_a_recogniser_is_known_by_its_content_whatever_its_name(name, tmp_path, monkeypatch):
    face_recogniser(tmp_path, name)
    file = tmp_path / "antelopev2" / name
    assert FaceNetworks(tmp_path).warnings == [
        f"{file} is not glintr100 as published: the face encoder knows its embeddings alone, those of another "
        "recogniser give another face."
    ]
    with monkeypatch.context() as patch:
        patch.setattr(models, "GLINTR100", sha256(file))
        assert FaceNetworks(tmp_path).warnings == []
    monkeypatch.setitem(models.OTHER_RECOGNISERS, sha256(file), "w600k_r50 of insightface's buffalo_l")
    with pytest.raises(InputError, match=r"is w600k_r50 of insightface's buffalo_l.*or go without, by --identity none"):
        FaceNetworks(tmp_path)
    assert not FaceNetworks(tmp_path, identity=False).recognises  # as advised
