import errno
import os

import pytest
import torch

from data.stored import random_images, write_parquet
from widemargin.data import cache, cache_folder
from widemargin.data.cache import cached
from widemargin.errors import InvalidInputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "set", random_images(6), [0, 1, 2, 0, 1, 2], split)
    return tmp_path / "set"


@pytest.fixture
def num_reads(monkeypatch):
    reads = []
    read_source = cache.read_source
    monkeypatch.setattr(cache, "read_source", lambda *args: reads.append(args) or read_source(*args))
    return lambda: len(reads)


def as_stored():
    return torch.from_numpy(random_images(6)).permute(0, 3, 1, 2)


def entries():
    return sorted((cache_folder() / "data").iterdir())


def test_decodes_a_source_once(source, num_reads):
    first, second = cached(source), cached(source)
    assert num_reads() == 1
    assert first.checksum == second.checksum
    assert torch.equal(first.data.splits["train"][0], second.data.splits["train"][0])
    assert second.source == str(source)


def test_a_changed_file_is_another_source(source, num_reads):
    before = cached(source)
    write_parquet(source, random_images(6, seed=9), [0, 1, 2, 0, 1, 2])
    assert cached(source).checksum != before.checksum
    assert num_reads() == 2


def test_equal_content_has_equal_checksums_wherever_it_lies(source, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for file in source.iterdir():
        (tmp_path / "elsewhere" / file.name).write_bytes(file.read_bytes())
    assert cached(source).checksum == cached(tmp_path / "elsewhere").checksum


@pytest.mark.parametrize("file", ["data.safetensors", "manifest.json"])
def test_a_damaged_entry_is_decoded_anew(source, num_reads, file):
    cached(source)
    path = entries()[0] / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(content)
    after = cached(source)
    assert num_reads() == 2
    assert torch.equal(after.data.splits["train"][0], as_stored())
    assert len(entries()) == 1


def test_writing_to_what_was_mapped_changes_nothing_for_others(source):
    cached(source).data.splits["train"][0].zero_()
    assert torch.equal(cached(source).data.splits["train"][0], torch.from_numpy(random_images(6)).permute(0, 3, 1, 2))


def test_data_from_python_is_found_again_by_its_name_in_the_cache(num_reads):
    pair = (torch.arange(8.0).view(4, 2), torch.tensor([0, 1, 0, 1]))
    kept = cached((pair, pair))
    again = cached(kept.source)
    assert kept.source.startswith("cache:")
    assert torch.equal(again.data.splits["train"][0], pair[0])
    assert again.checksum == kept.checksum
    with pytest.raises(InvalidInputError, match=r"cache:0123 must be in the cache .* but is not\. Hand"):
        cached("cache:0123")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left")])
def test_a_full_disk_leaves_nothing_and_is_said(source, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.raises(InvalidInputError, match=r"needs 0 MiB for .*set, but its disk is full\. Free some"):
        cached(source)
    assert entries() == []


def test_a_cache_that_cannot_be_written_is_named(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WIDEMARGIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        InvalidInputError, match=r"the cache .*file must be a folder to write to, but: Not a directory"
    ):
        cached(source)


def test_whatever_else_goes_wrong_leaves_nothing(source, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_file_sum", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached(source)
    assert entries() == []


def test_a_faster_process_wins(source, monkeypatch):
    save_file = cache.save_file

    def late(tensors, path):
        monkeypatch.setattr(cache, "save_file", save_file)
        cached(source)  # what another process does meanwhile
        save_file(tensors, path)

    monkeypatch.setattr(cache, "save_file", late)
    assert cached(source).data.num_classes == 3
    assert len(entries()) == 1


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("WIDEMARGIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other" / "widemargin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == type(tmp_path).home() / ".cache" / "widemargin"


def test_a_name_on_the_hub_is_read_once_and_needs_no_network_afterwards(source, monkeypatch):
    import datasets

    load_dataset = datasets.load_dataset
    asked = []

    def from_disk(path, **options):
        asked.append(path)
        return load_dataset(str(source), cache_dir=str(source.parent / "arrow"))

    monkeypatch.setattr(datasets, "load_dataset", from_disk)
    assert cached("owner/name").checksum == cached("owner/name").checksum == cached(source).checksum
    assert asked.count("owner/name") == 1
    assert os.listdir(cache_folder() / "data")
