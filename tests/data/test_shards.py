"""Shards give what the files gave that went into them; what is wrong with one is told with its name and its member."""

import functools
import io
import itertools
import json
import sys
import tarfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.engine.small_sets import write_moving
from tools import make_shards
from zoo.data.bad_files import GuardedDataset, collate_guarded
from zoo.data.point_dataset import PointFiles, PointFolder
from zoo.data.points import POINT_SUFFIXES, write_ply
from zoo.data.remote_files import FileCache
from zoo.data.shards import FetchAhead, find_shards, write_shards
from zoo.data.shards.find import expand
from zoo.data.shards.index import write_index
from zoo.data.video_dataset import VideoDataset
from zoo.data.video_sets import find_videos
from zoo.data.video_sets.listing import VIDEO_SUFFIXES
from zoo.data.video_writer import write_video
from zoo.engine.config import DataConfig
from zoo.engine.labelled import labelled_videos
from zoo.engine.order import Prepared, Samples, Schedule
from zoo.errors import InputError


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Five videos of noise in folders of two classes, and one that is cut off."""
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name in ("left/a.b", "left/c d", "right/a", "right/b", "right/c"):
        (root / name).parent.mkdir(exist_ok=True)
        write_video(root / f"{name}.mp4", rng.integers(0, 255, (12, 32, 48, 3), dtype=np.uint8), fps=8)
    return root


@pytest.fixture(scope="module")
def clouds(tmp_path_factory) -> Path:
    """Ten clouds in folders of two classes, as PLY and NPY."""
    root = tmp_path_factory.mktemp("clouds")
    rng = np.random.default_rng(0)
    for name in ("ball", "cube"):
        (root / name).mkdir()
        for index in range(5):
            points = rng.normal(size=(40, 3)).astype(np.float32)
            if name == "ball":
                write_ply(root / name / f"{index}.ply", points)
            else:
                np.save(root / name / f"{index}.npy", points)
    return root


@pytest.fixture
def cloud_shards(clouds, tmp_path) -> str:
    """The clouds in five shards of two."""
    folder = PointFolder(clouds)
    written = list(write_shards(folder.files, folder.class_names, tmp_path / "s" / "train", max_bytes=1300))
    assert [path.name for path in written] == [f"train-{number:06d}.tar" for number in range(5)]
    return str(tmp_path / "s" / "train-{000000..000004}.tar")


def find_clouds(pattern, **options):
    return find_shards(str(pattern), POINT_SUFFIXES, **options)


def write_tar(path, files) -> Path:
    """A tar file of names and contents, as anybody may write one."""
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def npy(number=0.0) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full((8, 3), number, np.float32))
    return file.getvalue()


@pytest.fixture
def run_tool(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["make_shards.py", *map(str, arguments)])
        return make_shards.main()

    return run


@pytest.fixture
def serve():
    """Serves a folder on the loopback: gives its address, and the list of what was asked for."""
    servers = []

    def start(folder):
        asked = []

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path.rpartition("/")[2])
                super().do_GET()

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("training", [False, True])
def test_videos_are_as_they_are_in_their_folder(videos, tmp_path, training):
    plain = find_videos(videos)
    (shard,) = write_shards(plain.samples, plain.class_names, tmp_path / "train")
    found = find_shards(str(shard), VIDEO_SUFFIXES)
    assert found.class_names == ("left", "right") and len(found.samples) == 5
    sharded = VideoDataset(found.samples, found.class_names, 4, training=training)
    names = [member.name for member, _ in found.samples]
    assert names != sorted(names)  # a shard mixes the classes
    assert sorted(names)[:2] == ["0000000_a_b.mp4", "0000001_c_d.mp4"]
    files = VideoDataset([plain.samples[int(name[:7])] for name in names], plain.class_names, 4, training=training)
    for index in range(5):
        torch.manual_seed(index)
        frames, label = sharded[index]
        torch.manual_seed(index)
        assert torch.equal(frames, files[index][0]) and label == files[index][1]
    assert sharded.path_of(0) == f"{shard}/{names[0]}" and sharded.shard_sizes == (5,) and files.shard_sizes == ()


def test_folders_of_frames_are_as_they_are_outside(tmp_path):
    root = write_moving(tmp_path / "frames", count=2)
    (root / "left/clip1/05.jpg").write_text("no picture")
    plain = find_videos(root)
    (shard,) = write_shards(plain.samples, plain.class_names, tmp_path / "train")
    found = labelled_videos(DataConfig(layout="shards"), str(shard))
    assert found.class_names == ("left", "right")
    folders, sharded = (VideoDataset(each.samples, each.class_names, 12, training=False) for each in (plain, found))
    assert sharded.shard_sizes == (4,)
    order = [int(sample.name[:7]) for sample, _ in found.samples]
    bad = order.index([str(path) for path, _ in plain.samples].index(str(root / "left/clip1")))
    for place, number in enumerate(order):
        if place != bad:
            assert torch.equal(sharded[place][0], folders[number][0]) and sharded[place][1] == folders[number][1]
    with pytest.raises(InputError, match=rf"{shard}/000000._clip1/000005\.jpg cannot be read as a picture"):
        sharded[bad]


def test_a_picture_beside_a_video_is_not_a_part_of_it(videos, tmp_path):
    video = (videos / "left" / "c d.mp4").read_bytes()
    shard = write_tar(tmp_path / "x.tar", [("a.jpg", b"thumbnail"), ("a.mp4", video), ("a.cls", b"0")])
    found = labelled_videos(DataConfig(layout="shards"), str(shard))
    assert [sample.name for sample, _ in found.samples] == ["a.mp4"]


@pytest.mark.parametrize("has_index", [True, False])
def test_clouds_are_as_they_are_in_their_folder(clouds, cloud_shards, has_index):
    if not has_index:
        for path in Path(cloud_shards).parent.glob("*.index.json"):
            path.unlink()
    found = find_clouds(cloud_shards)
    sharded = PointFiles(found.samples, found.class_names, num_points=16)
    folder = PointFolder(clouds, num_points=16)
    assert sharded.shard_sizes == (2, 2, 2, 2, 2)
    for index, (member, _) in enumerate(found.samples):
        torch.manual_seed(index)
        points, label = sharded[index]
        torch.manual_seed(index)
        expected, expected_label = folder[int(member.name[:7])]
        assert torch.equal(points, expected) and label == expected_label


def test_the_same_samples_give_the_same_bytes(clouds, tmp_path):
    folder = PointFolder(clouds)
    first, again = (
        b"".join(path.read_bytes() for path in write_shards(folder.files, folder.class_names, tmp_path / name / "x"))
        for name in ("first", "again")
    )
    assert first == again


def test_a_run_that_goes_on_gets_the_batches_that_were_left(cloud_shards):
    found = find_clouds(cloud_shards)
    dataset = PointFiles(found.samples, found.class_names, num_points=16)
    guarded = GuardedDataset(Prepared(dataset, lambda points: points), "raise", dataset.path_of)

    def batches(first_step):
        keys = Schedule(len(dataset), 2, 3, 7, first_step, shard_sizes=dataset.shard_sizes)
        return [batch for batch, _ in DataLoader(Samples(guarded, 7), batch_sampler=keys, collate_fn=collate_guarded)]

    whole, rest = batches(0), batches(8)
    assert len(whole) == 15 and len(rest) == 7
    for ((expected,), expected_labels), ((points,), labels) in zip(whole[8:], rest, strict=True):
        assert torch.equal(points, expected) and torch.equal(labels, expected_labels)


def test_shards_from_a_server_are_fetched_once(cloud_shards, serve, tmp_path):
    near = find_clouds(cloud_shards)
    address, asked = serve(Path(cloud_shards).parent)
    for _ in range(2):
        far = find_clouds(f"{address}/train-{{000000..000004}}.tar?key=secret", cache=FileCache(tmp_path / "cache"))
        assert far.class_names == near.class_names
        for (member, label), (expected, expected_label) in zip(far.samples, near.samples, strict=True):
            assert member.read() == expected.read() and label == expected_label
    shards = [name for name in asked if name.endswith(".tar?key=secret")]
    assert len(shards) == len(set(shards)) == 5


def test_the_next_shards_are_fetched_while_the_first_are_read(clouds, serve, tmp_path):
    folder = PointFolder(clouds)
    shards = list(write_shards(folder.files, folder.class_names, tmp_path / "s/train", max_bytes=1))
    address, asked = serve(tmp_path / "s")
    found = find_clouds(f"{address}/train-{{000000..000009}}.tar", cache=FileCache(tmp_path / "cache"))
    dataset = PointFiles(found.samples, found.class_names, num_points=16)

    def order(batches, soon=None):
        keys = Schedule(len(dataset), 2, 2, 7, shard_sizes=dataset.shard_sizes, soon=soon)
        return [shards[index].name for batch in itertools.islice(keys, batches) for _, index in batch]

    for batches in (2, 5):  # and at the end of an epoch those with which the next one begins
        del asked[:]
        ahead = FetchAhead(dataset.shard_of)
        assert order(batches, ahead) == order(batches)
        ahead.close()
        whole, num_read = order(10), 2 * batches
        kept = [path.name.partition("-")[2] for path in (tmp_path / "cache").glob("*.tar")]
        assert set(kept) == set(whole[4 : num_read + 4])
        assert len(asked) == len(set(asked)) <= 8


def test_a_far_shard_without_index_is_fetched_to_see_what_is_in_it(tmp_path, serve, caplog):
    write_tar(tmp_path / "x.tar", [("1.npy", npy()), ("1.cls", b"0")])
    address, asked = serve(tmp_path)
    found = find_clouds(f"{address}/x.tar", cache=FileCache(tmp_path / "cache"))
    assert found.class_names == ("0",) and found.samples[0][0].read() == npy()
    assert asked.count("x.tar") == 1 and "tools/make_shards.py index" in caplog.text


def test_shards_of_other_kinds_of_storage_come_through_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    shard = write_tar(tmp_path / "x.tar", [("1.npy", npy()), ("1.cls", b"0")])
    with fsspec.open("memory://folder/x.tar", "wb") as file:
        file.write(shard.read_bytes())
    found = find_clouds("memory://folder/x.tar", cache=FileCache(tmp_path / "cache"))
    assert found.samples[0][0].read() == npy()
    with pytest.raises(InputError, match=r"nothing://x\.index\.json cannot be fetched: Protocol not known"):
        find_clouds("nothing://x.tar", cache=FileCache(tmp_path / "cache"))


def test_a_cache_that_cannot_hold_what_is_used_together_is_refused(cloud_shards, serve, tmp_path):
    address, _ = serve(Path(cloud_shards).parent)
    with pytest.raises(InputError, match="allow more"):
        find_clouds(f"{address}/train-{{000000..000004}}.tar", cache=FileCache(tmp_path / "cache", 20_000))


@pytest.mark.parametrize(
    ("files", "classes", "expected"),
    [
        ([("d/a.npy", npy()), ("d/a.cls", b"1\n"), ("d/b.x.npy", npy()), ("d/b.cls", b"0")], "p\nq\n", [1, 0]),
        (
            [("a.npy", npy()), ("a.json", b'{"label": 1}'), ("b.npy", npy()), ("b.json", b'{"class": "p"}')],
            "p\nq",
            [1, 0],
        ),
        ([("._a.npy", b"x"), ("a.cls", b"q"), ("a.NPY", npy()), ("b.npy", npy()), ("b.cls", b"p")], None, [1, 0]),
    ],
)
def test_shards_that_others_wrote(tmp_path, files, classes, expected):
    shard = write_tar(tmp_path / "x.tar", files)
    if classes:
        (tmp_path / "classes.txt").write_text(classes)
    found = find_clouds(shard)
    assert found.class_names == ("p", "q") and [label for _, label in found.samples] == expected
    assert PointFiles(found.samples, found.class_names, num_points=4)[0][0].shape == (4, 3)


def test_classes_can_stand_in_json_and_another_part_may_order_them_otherwise(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("a.npy", npy()), ("a.cls", b"0")])
    for content in (["q", "p"], {"p": 1, "q": 0}):
        (tmp_path / "classes.json").write_text(json.dumps(content))
        assert find_clouds(shard).class_names == ("q", "p")
    found = find_clouds(shard, class_names=("p", "q", "r"))
    assert found.class_names == ("p", "q", "r") and found.samples[0][1] == 1
    with pytest.raises(InputError, match=r"x\.tar/a\.npy: 'q' is none of"):
        find_clouds(shard, class_names=("p", "r"))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([("a.npy", npy())], r"x\.tar/a\.npy has no class: put it into a\.cls"),
        ([("a.npy", npy()), ("a.cls", b"2")], r"x\.tar/a\.npy: class 2 is too large for 2 classes"),
        ([("a.npy", npy()), ("a.cls", b"other")], r"x\.tar/a\.npy: 'other' is none of the 2 classes"),
        ([("a.npy", npy()), ("a.json", b"{")], r"x\.tar/a\.json cannot be read as a label"),
        ([("a.npy", npy()), ("a.ply", b""), ("a.cls", b"0")], r"x\.tar has both a\.npy and a\.ply"),
        ([("a.npy", npy()), ("a.npy", npy())], r"x\.tar holds a\.npy twice"),
        ([("a.mp4", b""), ("a.cls", b"0")], r"x\.tar holds no file that ends in .*\.ply"),
    ],
)
def test_what_is_wrong_in_a_shard_is_named(tmp_path, files, text):
    (tmp_path / "classes.txt").write_text("p\nq\n")
    with pytest.raises(InputError, match=text):
        find_clouds(write_tar(tmp_path / "x.tar", files))


def test_numbers_that_cannot_be_classes_are_named(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("a.npy", npy()), ("a.cls", b"1700000000")])
    with pytest.raises(InputError, match=r"x\.tar/a\.npy: class 1700000000 is too large"):
        find_clouds(shard)


def test_damaged_shards_are_named(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [(f"{key}.{kind}", npy()) for key in "abc" for kind in ("npy", "ply")])
    whole = shard.read_bytes()
    member = 512 + 512  # a header, and what fits into a block
    for damaged in (whole[: 2 * member], whole[: 2 * member + 600], whole[:member] + b"?" + whole[member + 1 :], b"no"):
        shard.write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.tar is .*copy or write it again"):
            find_clouds(shard)
    with tarfile.open(shard, "w:gz"):
        pass
    with pytest.raises(InputError, match="unpack it if it is compressed"):
        find_clouds(shard)
    write_tar(tmp_path / "y-0.tar", [("a.npy", npy()), ("a.cls", b"0")])
    with pytest.raises(InputError, match=r"y-1\.tar cannot be read"):
        find_clouds(tmp_path / "y-{0..1}.tar")


def test_an_index_that_does_not_fit_is_refused(tmp_path):
    shard = write_tar(tmp_path / "x.tar", [("a.npy", npy()), ("a.cls", b"0")])
    index = write_index(shard)
    assert index.name == "x.index.json" and len(find_clouds(shard).samples) == 1
    content = index.read_text()
    for wrong in ("", "[]", "{}", content.replace("512", "99999"), content.replace('"a.npy"', "1"), '{"size": "1"}'):
        index.write_text(wrong)
        with pytest.raises(InputError, match=r"x\.index\.json .*write"):
            find_clouds(shard)
    index.write_text(content)
    write_tar(shard, [("a.npy", npy() * 9), ("b.npy", npy() * 99)])
    with pytest.raises(InputError, match=r"x\.tar has \d+ bytes, but its index tells of 10240"):
        find_clouds(shard)


def test_bad_members_are_skipped_and_told_by_shard_and_name(videos, tmp_path):
    whole = (videos / "left" / "c d.mp4").read_bytes()
    files = [("a.mp4", whole), ("b.mp4", whole[:-3000]), ("c.mp4", b""), ("d.mp4", whole)]
    shard = write_tar(tmp_path / "x.tar", [*files, *((f"{key}.cls", b"0") for key in "abcd")])
    found = find_shards(str(shard), VIDEO_SUFFIXES)
    dataset = VideoDataset(found.samples, found.class_names, 4, training=True)
    guarded = GuardedDataset(dataset, "skip", dataset.path_of, timeout_s=60)
    (((frames, _), records),) = DataLoader(guarded, 4, num_workers=1, collate_fn=collate_guarded)
    assert len(frames) == 2 and [bad.path for bad in records] == [f"{shard}/b.mp4", f"{shard}/c.mp4"]
    reasons = [bad.reason.removeprefix(bad.path) for bad in records]
    assert reasons[0] == " is no readable video; give a video file or a folder of frames"
    assert reasons[1] == " is empty; copy or download the video again"


@pytest.mark.parametrize("pattern", ["a-{0..b}.tar", "a-{3..1}.tar", "a-{0..1.tar", "a-{0,1}.tar"])
def test_patterns_are_numbers_in_braces(pattern):
    assert expand("{1..2}/a-{08..10}.tar")[3:] == ["2/a-08.tar", "2/a-09.tar", "2/a-10.tar"]
    with pytest.raises(InputError, match=r"braces hold the first and the last number"):
        expand(pattern)


def test_the_tool_writes_both_parts_with_the_same_classes(videos, clouds, tmp_path, run_tool, capsys):
    assert run_tool("videos", videos, tmp_path / "v/train", "--mib", "0.01") == 0
    assert len(list(tmp_path.glob("v/train-*.tar"))) == len(capsys.readouterr().out.splitlines()) > 1
    (tmp_path / "val.csv").write_text(f"{videos}/right/a.mp4,right\n")
    assert run_tool("videos", tmp_path / "val.csv", tmp_path / "v/val") == 0
    found = find_shards(str(tmp_path / "v/val-000000.tar"), VIDEO_SUFFIXES)
    assert found.class_names == ("left", "right") and found.samples[0][1] == 1
    assert run_tool("clouds", clouds, tmp_path / "c/train") == 0
    assert len(find_clouds(tmp_path / "c/train-000000.tar").samples) == 10
    assert run_tool("videos", videos, tmp_path / "v/train") == 2
    assert "are there already" in capsys.readouterr().err


def test_indexes_are_written_for_the_shards_of_others(tmp_path, run_tool, capsys):
    for number in range(2):
        write_tar(tmp_path / f"x-{number}.tar", [("a.npy", npy()), ("a.cls", b"0")])
    assert run_tool("index", tmp_path / "x-{0..1}.tar") == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / f"x-{number}.index.json") for number in range(2)]
    assert run_tool("index", "https://example.org/x.tar") == 2


def test_what_cannot_go_into_shards_is_named(clouds, tmp_path):
    folder = PointFolder(clouds)
    with pytest.raises(InputError, match=r"holds no \.jpg or \.png frames"):
        list(write_shards([(clouds / "ball", 0)], ["ball"], tmp_path / "a"))
    with pytest.raises(InputError, match=r"missing\.npy"):
        list(write_shards([(clouds / "missing.npy", 0)], ["ball"], tmp_path / "b"))
    (tmp_path / "classes.txt").write_text("other\n")
    with pytest.raises(InputError, match=r"classes\.txt names other classes"):
        list(write_shards(folder.files, folder.class_names, tmp_path / "c"))
    assert not list(tmp_path.glob("*.tar"))
