"""The memory of hashes: it saves work, and never at the price of missing a change."""

import hashlib
import json
import os

import pytest

from sa.runtime.system import hashing


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stableanimator-deploy" / "hashes.json"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "engine.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def reads(monkeypatch):
    """Counts how often a file is hashed."""
    count = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: count.append(1) or digest(*a))
    return count


def test_an_unchanged_file_is_hashed_once(cache, file, reads):
    expected = hashlib.sha256(b"weights").hexdigest()
    assert hashing.sha256(file) == hashing.sha256(file) == expected
    assert len(reads) == 1 and cache.exists()
    assert hashing.sha256(file, use_cache=False) == expected and len(reads) == 2


def test_a_change_is_seen_though_size_and_time_were_put_back(cache, file):
    before = hashing.sha256(file)
    stat = file.stat()
    file.write_bytes(b"Weights")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert hashing.sha256(file) != before


@pytest.mark.parametrize("content", ["no json", "[]", '{"x": 1}', "null", '{"%s": [1]}', '{"%s": "text"}'])
def test_a_damaged_memory_is_made_anew(cache, file, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content.replace("%s", str(file)))
    assert hashing.sha256(file) == hashlib.sha256(b"weights").hexdigest()
    assert str(file) in json.loads(cache.read_text())


def test_a_user_without_a_home_has_no_memory(file, monkeypatch):
    """As in a container whose user is not in its list of users."""

    def home() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", home)
    assert hashing.sha256(file) == hashing.sha256(file) == hashlib.sha256(b"weights").hexdigest()


def test_a_memory_that_cannot_be_kept_costs_only_time(tmp_path, file, monkeypatch):
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in the way"))
    assert hashing.sha256(file) == hashlib.sha256(b"weights").hexdigest()
