"""The journal of a set: what it says, and how a run goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multiscale.errors import ManifestError
from multiscale.manifest import NAME, Manifest
from multiscale.picture import Source

SOURCES = [Source(f"a/{number}.jpg", "a", str(number)) for number in range(7)]
HEADER = {"settings": {"seed": 0, "scale_factors": (1.0, 0.7)}, "libraries": {"pillow": "1"}}
BATCH = 3


def line(source: Source) -> dict:
    if source.name == "2":
        return {"source": source.file, "skipped": "no_box", "reason": "none"}
    return {"source": source.file, "files": {"1": {}, "0.7": {}}}


def opened(folder: Path, sources: list[Source] = SOURCES, header: dict = HEADER, **options: object) -> Manifest:
    return Manifest(folder, header, sources, BATCH, **options)


def fill(manifest: Manifest, sources: list[Source] = SOURCES, stop: int | None = None) -> None:
    for start in range(manifest.counts.pictures, len(sources), BATCH)[:stop]:
        manifest.append([line(source) for source in sources[start : start + BATCH]])


def whole(folder: Path) -> bytes:
    with opened(folder) as manifest:
        fill(manifest)
        manifest.finish()
    return (folder / NAME).read_bytes()


def test_it_holds_settings_pictures_and_counts(tmp_path: Path) -> None:
    lines = [json.loads(text) for text in whole(tmp_path / "set").splitlines()]
    assert lines[0] == {
        "version": 1,
        "settings": {"seed": 0, "scale_factors": [1.0, 0.7]},
        "libraries": {"pillow": "1"},
    }
    assert lines[1:-1] == [line(source) for source in SOURCES]
    assert lines[-1] == {"finished": {"pictures": 7, "groups": 6, "files": 12, "skipped": {"no_box": 1}}}


def test_cut_off_at_any_byte_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    content = whole(tmp_path)
    for length in range(len(content) + 1):
        (tmp_path / NAME).write_bytes(content[:length])
        with opened(tmp_path) as manifest:
            kept = manifest.counts.pictures
            assert kept % BATCH == 0 or kept == len(SOURCES)
            written = max(0, content[:length].count(b"\n") - 1)
            assert kept > min(written, len(SOURCES)) - BATCH  # no whole batch is lost
            fill(manifest)
            manifest.finish()
        assert (tmp_path / NAME).read_bytes() == content, length


def test_a_larger_run_goes_on_with_the_smaller(tmp_path: Path) -> None:
    content = whole(tmp_path / "large")
    with opened(tmp_path / "small", SOURCES[:4]) as manifest:
        fill(manifest, SOURCES[:4])
        manifest.finish()
    with opened(tmp_path / "small") as manifest:
        assert manifest.counts.pictures == 3  # the last batch was smaller than it is now
        fill(manifest)
        manifest.finish()
    assert (tmp_path / "small" / NAME).read_bytes() == content
    with pytest.raises(ManifestError, match="more than the 4 pictures of this run: raise --max_images"):
        opened(tmp_path / "small", SOURCES[:4])


def test_other_settings_and_other_pictures_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    content = whole(tmp_path)
    other = {**HEADER, "settings": {"seed": 1, "scale_factors": (1.0, 0.7)}}
    with pytest.raises(ManifestError, match=r"seed was 0 and is 1\. Name another --output_path"):
        opened(tmp_path, header=other)
    with pytest.raises(ManifestError, match=r"picture 0 is a/0\.jpg and would now be a/1\.jpg"):
        opened(tmp_path, SOURCES[1:])
    with pytest.raises(ManifestError, match="exists: go on with it"):
        opened(tmp_path, resume=False)
    assert (tmp_path / NAME).read_bytes() == content


def test_settings_bind_nobody_before_the_first_picture(tmp_path: Path) -> None:
    opened(tmp_path, header={**HEADER, "settings": {"seed": 1}}).close()
    content = whole(tmp_path)
    assert json.loads(content.splitlines()[0])["settings"]["seed"] == 0


def test_other_libraries_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole(tmp_path)
    opened(tmp_path, header={**HEADER, "libraries": {"pillow": "2"}}).close()
    assert "bytes may differ" in capsys.readouterr().err


def test_another_version_and_damage_are_refused(tmp_path: Path) -> None:
    content = whole(tmp_path)
    (tmp_path / NAME).write_bytes(content.replace(b'"version": 1', b'"version": 9'))
    with pytest.raises(ManifestError, match="has version 9; this program writes version 1"):
        opened(tmp_path)
    (tmp_path / NAME).write_bytes(content.replace(b'"a/3.jpg"', b'"a/3.jpg'))
    with pytest.raises(ManifestError, match="line 5 is no record"):
        opened(tmp_path)


def test_it_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ManifestError, match="another run is writing"):
        opened(tmp_path)
    opened(tmp_path).close()
