"""Shards and Hugging Face sets: what is read, in which order, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import resolve_data_config

import train_imagenet
from config.schema import Config, EvaluationConfig, ModelConfig, PictureData, TrainConfig
from dataloader.build import build_splits
from dataloader.pictures import sources, stream_training
from dataloader.pictures.classes import build_classes
from dataloader.pictures.groups import neighbours
from dataloader.splits import Splits
from tests.train.picture_runs import recipe, refusal, train, write_pictures
from tests.train.runs import Stopped, assert_same_run, stop_after

SEED, BATCH, CLASSES = 3, 8, 4
TRAIN, VAL = 45, 14
SHARDS = {"train": 3, "val": 2}
EVALUATION = EvaluationConfig(split="val", calibration_items=6, batch_size=4)
INPUT = resolve_data_config({"img_size": 16})
WDS = {"name": "wds/", "class_map": None, "num_classes": CLASSES, "train_samples": None}


def content(number: int) -> bytes:
    """A PNG whose colour is its number."""
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (5 * number, 200, 30)).save(file, "PNG")
    return file.getvalue()


def write_shards(
    root: Path, split: str, count: int, changed: dict[int, dict[str, bytes]] | None = None, *, names: Sequence[str] = ()
) -> None:
    """Pictures in tar files, evenly; ``_info.json`` names them."""
    root.mkdir(parents=True, exist_ok=True)
    files = [f"{split}-{shard}.tar" for shard in range(SHARDS[split])]
    lengths = []
    for shard, file in enumerate(files):
        numbers = np.array_split(np.arange(count), len(files))[shard]
        lengths.append(len(numbers))
        with tarfile.open(root / file, "w") as tar:
            for number in numbers.tolist():
                parts = {"png": content(number), "cls": str(number % CLASSES).encode()}
                if names:
                    parts["json"] = json.dumps({"filename": names[number]}).encode()
                for ending, data in (parts | (changed or {}).get(number, {})).items():
                    entry = tarfile.TarInfo(f"{split}{number:03d}.{ending}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    path = root / "_info.json"
    info = json.loads(path.read_text()) if path.exists() else {"splits": {}}
    described = {"name": split, "num_samples": count, "filenames": files, "shard_lengths": lengths}
    path.write_text(json.dumps({"splits": info["splits"] | {split: described}}))


def write_hub(root: Path, *, path: str = "{}.png") -> None:
    """The same pictures as a Hugging Face set of parquet files."""
    root.mkdir()
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=[f"kind{number}" for number in range(CLASSES)])
    )
    for split, count in (("train", TRAIN), ("validation", VAL)):
        rows = [
            {"image": {"bytes": content(number), "path": path.format(number)}, "label": number % CLASSES}
            for number in range(count)
        ]
        table = datasets.Dataset.from_list(rows, features=features)
        for part, numbers in enumerate(np.array_split(np.arange(count), 3)):
            table.select(numbers).to_parquet(root / f"{split}-{part:05d}-of-00003.parquet")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_shards(root, "train", TRAIN)
    write_shards(root, "val", VAL)
    return root


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hub") / "set"
    write_hub(root)
    return root


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(stream_training, "SHUFFLED", 10)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)


@pytest.fixture(params=["wds", "hfids"])
def config(request, shards, hub, tmp_path) -> PictureData:
    """Of a stream."""
    return of_shards(shards) if request.param == "wds" else of_hub("hfids", hub, tmp_path)


def of_shards(folder: Path, **options: Any) -> PictureData:
    return PictureData(**({**WDS, "root": str(folder), "workers": 0} | options))


def of_hub(kind: str, root: Path, cache: Path, **options: Any) -> PictureData:
    """Streams of files know no length."""
    length = {"train_samples": 30} if kind == "hfids" else {}
    given = {"name": f"{kind}/{root}", "root": str(cache), "val_split": "validation", "class_map": None, "workers": 0}
    return PictureData(**(given | length | options))


def built(config: PictureData, evaluation: EvaluationConfig = EVALUATION, share: tuple[int, int] = (0, 1)) -> Splits:
    model, training = ModelConfig(backbone="test_vit", pretrained=False), TrainConfig(batch_size=BATCH)
    recipe = Config(data=config, model=model, train=training, evaluation=evaluation)
    return build_splits(recipe, SEED, share, INPUT)


def loader_of(splits: Splits) -> Any:
    """Of the training."""
    return splits.train


def items_of(splits: Splits) -> Sequence[int]:
    """Numbers of those that are trained on."""
    return loader_of(splits).batch_sampler.items


def batches(config: PictureData, epoch: int, start: int = 0, share: tuple[int, int] = (0, 1)) -> list[list]:
    """What the training loader yields."""
    loader = loader_of(built(config, share=share))
    loader.batch_sampler.seek(epoch, start)
    return list(loader)


def numbers_of(image: torch.Tensor) -> list[int]:
    """Which pictures these are, by their colour."""
    red = image[:, 0].amax((1, 2)) * INPUT["std"][0] + INPUT["mean"][0]
    return (red * 51).round().int().tolist()


def assert_same(some: list[list], others: list[list]) -> None:
    assert len(some) == len(others)
    for batch, other in zip(some, others, strict=True):
        assert all(torch.equal(value, also) for value, also in zip(batch, other, strict=True))


def test_an_epoch_has_every_picture_once_but_for_those_held_out(config) -> None:
    data = built(config)
    held = [number for image, _, _ in data.calibration.loader(data.calibration.batches) for number in numbers_of(image)]
    assert held == list(range(6))
    orders = []
    for epoch in range(2):
        found = batches(config, epoch)
        orders.append([number for image, _, _ in found for number in numbers_of(image)])
        assert len(set(orders[-1])) == len(orders[-1]) == len(items_of(data)) == (config.train_samples or TRAIN - 6)
        assert not set(orders[-1]) & set(held)
        labels = torch.cat([label for _, label, _ in found]).tolist()
        assert labels == [number % CLASSES for number in orders[-1]]
        assert torch.cat([index for _, _, index in found]).tolist() == list(range(len(labels)))
    assert orders[0] != orders[1] and sorted(orders[0]) != orders[0]
    assert_same(batches(config, 1), batches(config, 1))


def test_workers_and_processes_change_nothing(config) -> None:
    whole = batches(config, 1)
    for workers in (1, 2):
        assert_same(batches(dataclasses.replace(config, workers=workers), 1), whole)
    parts = [batches(config, 1, share=(rank, 2)) for rank in range(2)]
    order = [loader_of(built(config, share=(rank, 2))).batch_sampler for rank in range(2)]
    for step, (image, label, index) in enumerate(whole):
        both = [[*part[step]] for rank, part in enumerate(parts) if order[rank].weight(step)]
        at = torch.cat([part[2] for part in both]).argsort()
        for value, place in ((image, 0), (label, 1), (index, 2)):
            assert torch.equal(torch.cat([part[place] for part in both])[at], value)


def test_a_resumed_epoch_goes_on_with_the_same_batches(config) -> None:
    assert_same(batches(config, 2, start=3), batches(config, 2)[3:])


@pytest.mark.parametrize("workers", [0, 2])
def test_val_is_divided_among_processes(config, workers) -> None:
    data = built(dataclasses.replace(config, workers=workers))
    part = data.evaluated["val"]
    found = {
        number: (shown, kind)
        for rank in range(3)
        for image, label, index in part.loader(part.batches[rank::3])
        for number, shown, kind in zip(index.tolist(), numbers_of(image), label.tolist(), strict=True)
    }
    assert sum(map(len, part.batches)) == len(found) == VAL
    assert all((number, number % CLASSES) == shown for number, shown in found.items())
    assert not list(part.loader([]))


def test_a_part_of_val(config) -> None:
    evaluation = dataclasses.replace(EVALUATION, items=5)
    assert built(config, evaluation).evaluated["val"].batches == [[0, 1, 2, 3], [4]]


def test_a_stream_that_is_shorter_than_an_epoch_begins_anew(hub, tmp_path) -> None:
    config = of_hub("hfids", hub, tmp_path, train_samples=2 * TRAIN)
    found = [number for image, _, _ in batches(config, 0) for number in numbers_of(image)]
    assert len(found) == 2 * TRAIN and set(found) == set(range(6, TRAIN))


def test_neighbours_at_several_scales_are_groups() -> None:
    names = ["a/x_scale_0.7.png", "a/x_scale_1.png", "b/x_scale_1.png", "y.png", "y.png", "a/x_scale_1.2.png"]
    groups = neighbours(names)
    assert groups.members == [[1, 0], [2], [3], [4], [5]]
    np.testing.assert_array_equal(groups.scales, [0.7, 1, 1, np.nan, np.nan, 1.2])


def test_shards_with_scales_are_evaluated_in_whole_groups(tmp_path) -> None:
    names = [f"{number // 3}_scale_{(0.7, 1, 1.4)[number % 3]}.png" for number in range(VAL)]
    write_shards(tmp_path, "train", TRAIN)
    write_shards(tmp_path, "val", VAL, names=names)
    part = built(of_shards(tmp_path), dataclasses.replace(EVALUATION, items=4)).evaluated["val"]
    assert part.batches == [[1, 0, 2], [4, 3, 5]]
    walked = [index.tolist() for _, _, index in part.loader(part.batches)]
    assert walked == part.batches
    assert [numbers_of(image) for image, _, _ in part.loader(part.batches)] == part.batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_reported_counted_and_replaced(workers, tmp_path, capfd) -> None:
    broken = {"png": b"no picture"}
    write_shards(tmp_path, "train", TRAIN, {20: broken, 21: {"png": content(21)[:60]}})
    write_shards(tmp_path, "val", VAL, {3: broken})
    config = of_shards(tmp_path, workers=workers, broken_limit=1)
    data = built(config)
    loader = loader_of(data)
    for epoch in range(2):  # which counts them once
        loader.batch_sampler.seek(epoch)
        found = [(numbers_of(image), label.tolist()) for image, label, _ in loader]
        shown = [number for numbers, _ in found for number in numbers]
        assert len(shown) == TRAIN - 6 and not {20, 21} & set(shown)
        assert [number % CLASSES for number in shown] == [label for _, labels in found for label in labels]
    assert loader.dataset.count_broken() == 2
    with pytest.raises(ValueError, match=r"2 pictures could not be read.*broken_limit allows 1"):
        data.check()
    part = data.evaluated["val"]
    labels = {
        int(n): int(k) for _, label, index in part.loader(part.batches) for n, k in zip(index, label, strict=True)
    }
    assert labels == {number: -1 if number == 3 else number % CLASSES for number in range(VAL)}
    part.dataset.check()
    said = capfd.readouterr().err
    assert said.count("train020 cannot be read") == 1 and said.count("val003 cannot be read") == 1


SIDECARS = {
    b"{": "its json is damaged: Expecting property name",
    b'{"finer": 1}\xff': "its json is damaged: 'utf-8' codec can't decode",
    b"[" * 200_000: "its json is damaged: ",
    b"[1, 2]": "its json is no mapping of names to values",
    b'{"finer": "cat"}': "its finer is 'cat'; expected a number",
    b'{"finer": [1]}': "its finer is [1]; expected a number",
    b'{"finer": Infinity}': "its finer is inf; expected a number",
}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_with_a_broken_sidecar_is_one_that_cannot_be_read(workers, tmp_path, capfd) -> None:
    """Reported with its shard, key and reason, counted once, replaced in training and left out of evaluation."""
    sound = {number: {"json": json.dumps({"finer": number % CLASSES}).encode()} for number in range(TRAIN)}
    broken = {20 + place: {"json": content} for place, content in enumerate(SIDECARS)}
    absent = {30: {"json": b'{"finer": -1}'}}
    write_shards(tmp_path, "train", TRAIN, sound | broken | absent)
    write_shards(tmp_path, "val", VAL, sound | {3 + place: broken[20 + place] for place in range(len(SIDECARS))})
    info = json.loads((tmp_path / "_info.json").read_text())
    info["splits"]["train"]["alt_label"] = info["splits"]["val"]["alt_label"] = "finer"
    (tmp_path / "_info.json").write_text(json.dumps(info))
    data = built(of_shards(tmp_path, workers=workers))
    loader = loader_of(data)
    for epoch in range(2):
        loader.batch_sampler.seek(epoch)
        found = [(numbers_of(image), label.tolist()) for image, label, _ in loader]
        shown = [number for numbers, _ in found for number in numbers]
        assert len(shown) == TRAIN - 6 and not (broken | absent).keys() & {*shown}
        assert [number % CLASSES for number in shown] == [label for _, labels in found for label in labels]
    assert loader.dataset.count_broken() == len(SIDECARS)
    part = data.evaluated["val"]
    labels = {
        int(n): int(k) for _, label, index in part.loader(part.batches) for n, k in zip(index, label, strict=True)
    }
    assert labels == {number: -1 if 3 <= number < 3 + len(SIDECARS) else number % CLASSES for number in range(VAL)}
    assert part.dataset.count_broken() == len(SIDECARS)
    said = capfd.readouterr().err
    for place, reason in enumerate(SIDECARS.values()):
        shards = [tmp_path / f"{split}-{1 if split == 'train' else place // 4}.tar" for split in ("train", "val")]
        assert said.count(f"{shards[0]}: train{20 + place:03d} cannot be read ({reason}") == 1
        assert said.count(f"{shards[1]}: val{3 + place:03d} cannot be read ({reason}") == 1


def test_a_broken_sidecar_that_only_gives_names_is_reported_too(tmp_path, capfd) -> None:
    names = ["one", "two", "\udc80", 7, None, *map(str, range(5, VAL))]
    write_shards(tmp_path, "train", TRAIN)
    write_shards(
        tmp_path, "val", VAL, {1: {"json": b"{"}, 2: {"png": b""}, 3: {"png": b""}, 4: {"png": b""}}, names=names
    )
    part = built(of_shards(tmp_path)).evaluated["val"]
    for _, label, index in part.loader(part.batches):
        assert [k == -1 for k in label.tolist()] == [1 <= n <= 4 for n in index.tolist()]
    assert part.dataset.count_broken() == 4
    told = [line.partition(" cannot be read")[0].rpartition(": ")[2] for line in capfd.readouterr().err.splitlines()]
    assert told == ["val001", "?", "7", "val004"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cls": b"4"}, r"val-0\.tar: val002: the label is b'4'; expected 0 to 3, as there are 4 classes"),
        ({"cls": b"cat"}, r"the label is b'cat'"),
    ],
)
def test_a_wrong_label_is_refused(changed, message, tmp_path) -> None:
    write_shards(tmp_path, "train", TRAIN)
    write_shards(tmp_path, "val", VAL, {2: changed})
    with pytest.raises(ValueError, match=message):
        built(of_shards(tmp_path))


def test_classes_that_the_data_names(hub, tmp_path) -> None:
    """The same numbers whatever the order of the class map, and a refusal where it knows some of them alone."""
    (tmp_path / "turned.txt").write_text("kind3\nkind2\nkind1\nkind0\n")
    (tmp_path / "other.txt").write_text("kind0\nkind1\nkind2\nother\n")
    for kind in ("hfds", "hfids"):
        config = of_hub(kind, hub, tmp_path)
        assert list(build_classes(config)) == ["kind0", "kind1", "kind2", "kind3"]
        part = built(dataclasses.replace(config, class_map="turned.txt")).evaluated["val"]
        for image, label, _ in part.loader(part.batches):
            assert label.tolist() == [3 - number % CLASSES for number in numbers_of(image)]
        for class_map, message in (("other.txt", "of which .* 4 does not know 1, 'kind3'"), ("imagenet", "not know 4")):
            with pytest.raises(ValueError, match=message):
                built(dataclasses.replace(config, class_map=class_map))


def test_a_set_on_the_disk_is_like_a_folder(hub, tmp_path) -> None:
    config = of_hub("hfds", hub, tmp_path)
    data = built(config)
    held = {number for batch in data.calibration.batches for number in batch}
    assert len(items_of(data)) + len(held) == TRAIN and not held & set(items_of(data))
    found = [number for image, _, _ in batches(config, 0) for number in numbers_of(image)]
    assert sorted(found) == sorted(items_of(data))
    part = data.evaluated["val"]
    assert part.groups.members == [[number] for number in range(VAL)]
    for image, label, index in part.loader(part.batches):
        assert numbers_of(image) == index.tolist() and label.tolist() == [int(n) % CLASSES for n in index]


def test_a_set_on_the_disk_is_grouped_by_the_names_of_its_files(tmp_path) -> None:
    write_hub(tmp_path / "set", path="x_scale_{}.png")
    part = built(of_hub("hfds", tmp_path / "set", tmp_path)).evaluated["val"]
    assert [0, 4, 8, 12] in part.groups.members and len(part.groups.members) == CLASSES  # a name is of one class


def test_a_multi_scale_folder_is_evaluated_beside_shards(shards, tmp_path) -> None:
    (tmp_path / "classes.txt").write_text("disc\nsquare\nstripe\nother\n")
    folder = write_pictures(tmp_path / "pictures")
    config = of_shards(shards, class_map=str(tmp_path / "classes.txt"), multi_scale_root=str(folder))
    found = built(config).evaluated
    assert list(found) == ["val", "multi_scale"] and not found["val"].groups.has_scales
    assert {len(group) for group in found["multi_scale"].groups.members} == {3}


def test_what_does_not_fit_is_refused(shards, hub, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="split is held_out"):
        built(of_shards(shards), dataclasses.replace(EVALUATION, split="held_out"))
    with pytest.raises(ValueError, match=r"has no split 'test'.*train-\{0000\.\.0099\}\.tar\|100000"):
        built(of_shards(shards, val_split="test"))
    with pytest.raises(ValueError, match=r"root is null"):
        built(of_shards(shards, root=None))
    with pytest.raises(ValueError, match=r"class_map is null, but .* names no classes"):
        build_classes(of_shards(shards, num_classes=None))
    with pytest.raises(ValueError, match="does not say how many pictures it has"):
        built(of_hub("hfids", hub, tmp_path, train_samples=None))
    with pytest.raises(ValueError, match="does not say how many pictures it has"):
        built(of_shards(shards, train_split="train-{0..2}.tar"))
    assert len(items_of(built(of_shards(shards, train_split="train-{0..2}.tar|40")))) == 34
    (tmp_path / "_info.json").write_text((shards / "_info.json").read_text())
    with pytest.raises(ValueError, match=r"train-0\.tar cannot be read \(No such file or directory\)"):
        built(of_shards(tmp_path))
    (tmp_path / "train-0.tar").write_bytes((shards / "train-0.tar").read_bytes()[:700])
    with pytest.raises(ValueError, match=r"train-0\.tar cannot be read \(unexpected end of data"):
        built(of_shards(tmp_path))
    for kind in ("hfds", "hfids"):
        with pytest.raises((ValueError, FileNotFoundError), match="none"):
            built(of_hub(kind, hub, tmp_path, val_split="none"))
        with pytest.raises((ValueError, FileNotFoundError), match="nowhere"):
            built(of_hub(kind, tmp_path / "nowhere", tmp_path))
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    for config in (of_shards(shards), of_hub("hfds", hub, tmp_path), of_hub("hfids", hub, tmp_path)):
        with pytest.raises(ValueError, match=r'needs the package \w+: pip install "\.\[shards\]"'):
            build_classes(config)


def test_a_set_with_other_columns_is_refused(tmp_path) -> None:
    (tmp_path / "set").mkdir()
    table = datasets.Dataset.from_list([{"jpg": {"bytes": content(1), "path": None}, "cls": 1}] * 9)
    table.to_parquet(tmp_path / "set" / "train.parquet")
    for kind in ("hfds", "hfids"):
        with pytest.raises(ValueError, match=r"image"):
            built(of_hub(kind, tmp_path / "set", tmp_path, num_classes=2))


def test_a_run_on_shards_and_its_resumption(shards, tmp_path, capsys) -> None:
    """Stopped in its second epoch, it ends with the same numbers and files."""
    file = recipe(tmp_path, shards, {"data": WDS, "train": {"checkpoint_steps": 1}, "evaluation": {"items": VAL}})
    whole = train(file, tmp_path / "whole")
    assert whole["metrics"]["temperature"] > 0 and 0 <= whole["metrics"]["top1"] <= 1
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stopped):
            train(file, tmp_path / "broken_off")
    train(file, tmp_path / "broken_off", "--resume", "data.workers=1")
    assert_same_run(tmp_path / "whole", tmp_path / "broken_off")
    words = ["--config_file", str(file), "--run_dir", str(tmp_path / "none"), "data.num_classes=3"]
    assert "the label is b'3'; expected 0 to 2" in refusal(capsys, *words)


def test_a_dry_run_on_a_set_of_the_hub(hub, tmp_path) -> None:
    file = recipe(tmp_path, tmp_path, {"data": {"name": f"hfds/{hub}", "val_split": "validation"}})
    train_imagenet.main(["--config_file", str(file), "--dry_run"])


def test_the_same_pictures_are_trained_on_as_are_counted(shards) -> None:
    data = built(of_shards(shards))
    assert data.num_classes == CLASSES and len(items_of(data)) == TRAIN - 6
    assert data.report[0] == f"training on {TRAIN - 6} of {TRAIN} files, {CLASSES} classes"
