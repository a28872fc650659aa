import json

import pytest

from zoo.data.class_names import class_names
from zoo.data.video_sets import find_videos
from zoo.errors import InputError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def listed(found, root):
    return [(path.relative_to(root).as_posix(), found.class_names[label]) for path, label in found.samples]


def test_folders_named_by_class_hold_videos_and_folders_of_frames(tmp_path):
    touch(tmp_path / "wave" / "b.mp4", tmp_path / "wave" / "a" / "img_1.jpg", tmp_path / "rest" / "c.WEBM")
    touch(tmp_path / "wave" / "notes.txt", tmp_path / ".cache" / "x.mp4", tmp_path / "README")
    found = find_videos(tmp_path)
    assert found.class_names == ("rest", "wave")
    assert listed(found, tmp_path) == [("rest/c.WEBM", "rest"), ("wave/a", "wave"), ("wave/b.mp4", "wave")]


def test_a_model_gives_its_own_order_of_classes(tmp_path):
    touch(tmp_path / "rest" / "c.mp4")
    found = find_videos(tmp_path, class_names=["wave", "rest"])
    assert found.class_names == ("wave", "rest") and found.samples[0].label == 1
    with pytest.raises(InputError, match=r"'rest' is none of the 1 classes"):
        find_videos(tmp_path, class_names=["wave"])


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(InputError, match="no videos found"):
        find_videos(tmp_path)
    (tmp_path / "wave").mkdir()
    with pytest.raises(InputError, match=r"wave holds no videos"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        find_videos(tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        "v/a.mp4,wave\nv/b.mp4,rest\n",
        "path,label\nv/a.mp4,wave\nv/b.mp4,rest\n",
        "source,Label,file\n1,wave,v/a.mp4\n\n2,rest,v/b.mp4\n",
        "\ufefffile, label\nv/a.mp4, wave\nv/b.mp4, rest",
    ],
)
def test_a_csv_of_paths_and_names(tmp_path, text):
    touch(tmp_path / "v" / "a.mp4")
    touch(tmp_path / "v" / "b" / "00001.jpg")  # named b.mp4, and taken apart into frames
    found = find_videos(write(tmp_path / "train.csv", text))
    assert found.class_names == ("rest", "wave")
    assert listed(found, tmp_path) == [("v/a.mp4", "wave"), ("v/b", "rest")]


def test_a_csv_of_numbers(tmp_path):
    touch(tmp_path / "videos" / "a.mp4")
    path = write(tmp_path / "lists" / "train.csv", "a.mp4,2\n")
    found = find_videos(path, videos=tmp_path / "videos")
    assert found.class_names == ("0", "1", "2") and found.samples[0].label == 2
    found = find_videos(path, videos=tmp_path / "videos", class_names=["stop", "go", "turn"])
    assert found.class_names[found.samples[0].label] == "turn"
    with pytest.raises(InputError, match=r"train\.csv, line 1: label 2 is too large for 2 classes"):
        find_videos(path, videos=tmp_path / "videos", class_names=["stop", "go"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,wave\na.mp4\n", r"list\.csv, line 2: a row is a path and a label"),
        ("path,label\na.mp4,wave\nz.mp4,wave\n", r"list\.csv, line 3: .*z\.mp4 is not there"),
        ("label,length\nwave,a.mp4\n", r"list\.csv: the header names no column of paths"),
        ("", r"list\.csv is empty"),
        ("path,label\n", r"list\.csv: no videos found"),
    ],
)
def test_mistakes_in_a_csv_are_named_with_their_line(tmp_path, text, message):
    touch(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=message):
        find_videos(write(tmp_path / "list.csv", text))


KINETICS = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics(tmp_path):
    path = write(
        tmp_path / "annotations" / "val.csv",
        KINETICS + '"abseiling",-3B32lodo2M,59,69,val\nhurling (sport),yyyyyyyyyyy,1,11,val\n'
        "zumba,bbbbbbbbbbb,3,13,train\nzumba,ccccccccccc,4,14,val\n",
    )
    videos = tmp_path / "videos"
    touch(videos / "abseiling" / "-3B32lodo2M_000059_000069.mp4", videos / "val" / "zumba" / "ccccccccccc_4" / "1.jpg")
    touch(videos / "zumba" / "bbbbbbbbbbb_000003_000013.mp4")
    found = find_videos(path, videos=videos, part="val")
    assert found.class_names == class_names("kinetics400") and found.num_missing == 1
    assert listed(found, videos) == [
        ("abseiling/-3B32lodo2M_000059_000069.mp4", "abseiling"),
        ("val/zumba/ccccccccccc_4", "zumba"),
    ]
    assert len(find_videos(path, videos=videos).samples) == 3
    assert find_videos(path, "kinetics700", videos=videos).class_names == class_names("kinetics700")


def test_the_classes_of_kinetics_are_those_of_the_smallest_that_knows_the_labels(tmp_path):
    touch(tmp_path / "aaa_000001_000011.mp4")
    for label, dataset in [("adjusting glasses", "kinetics600"), ("arresting", "kinetics700")]:
        path = write(tmp_path / "a.csv", KINETICS + f"{label},aaa,1,11,train\n")
        assert find_videos(path).class_names == class_names(dataset)


def test_mistakes_in_kinetics_are_named(tmp_path):
    for row, message in [
        ("abseiling,aaa,x,11,val", r"a\.csv, line 2: not a label, an id and two times"),
        ("abseil,aaa,1,11,val", r"a\.csv, line 2: 'abseil' is none of the 700 classes"),
        ("abseiling,aaa,1,11,val", r"a\.csv: no videos found"),
    ]:
        with pytest.raises(InputError, match=message):
            find_videos(write(tmp_path / "a.csv", KINETICS + row))
    with pytest.raises(InputError, match="no row is of the part 'test'; its column split has val"):
        find_videos(write(tmp_path / "a.csv", KINETICS + "abseiling,aaa,1,11,val"), part="test")
    with pytest.raises(InputError, match="the header of a Kinetics annotation"):
        find_videos(write(tmp_path / "b.csv", "a,1\n"), "kinetics")


def test_something_something_v1_and_jester(tmp_path):
    touch(tmp_path / "frames" / "100218" / "00001.jpg", tmp_path / "frames" / "24" / "00001.jpg")
    path = write(tmp_path / "a.csv", "100218;Swiping Left\n24;Doing other things\n")
    found = find_videos(path, videos=tmp_path / "frames")
    assert found.class_names == class_names("jester")
    assert listed(found, tmp_path / "frames") == [("100218", "Swiping Left"), ("24", "Doing other things")]
    name = "Laying something on the table on its side, not upright"
    path = write(tmp_path / "b.csv", f"100218;{name}\n24;Holding something\n")
    found = find_videos(path, videos=tmp_path / "frames")
    assert found.class_names == class_names("something-something-v1")
    assert listed(found, tmp_path / "frames") == [("100218", name), ("24", "Holding something")]


def test_something_something_v2(tmp_path):
    touch(tmp_path / "v" / "78687.webm", tmp_path / "v" / "1.webm")
    entry = {"id": "78687", "label": "holding potato", "template": "Holding [something] next to [something]"}
    path = write(tmp_path / "train.json", json.dumps([entry]))
    found = find_videos(path, videos=tmp_path / "v")
    assert found.class_names == class_names("something-something-v2")
    assert listed(found, tmp_path / "v") == [("78687.webm", "Holding something next to something")]
    with pytest.raises(InputError, match=r"train\.json, entry 1: .* holds no video .* 78687"):
        find_videos(path)
    with pytest.raises(InputError, match="test part is published without"):
        find_videos(write(tmp_path / "test.json", '[{"id": "1"}]'))


def test_ucf101(tmp_path):
    lists, videos = tmp_path / "lists", tmp_path / "UCF-101"
    touch(videos / "YoYo" / "v_YoYo_g08_c01.avi", videos / "ApplyLipstick" / "v_ApplyLipstick_g01_c01" / "1.jpg")
    write(lists / "trainlist02.txt", "YoYo/v_YoYo_g08_c01.avi 101\r\n")
    path = write(lists / "testlist01.txt", "ApplyLipstick/v_ApplyLipstick_g01_c01.avi\n")
    found = find_videos(lists, videos=videos, part="train2")
    assert found.class_names == class_names("ucf101")
    assert listed(found, videos) == [("YoYo/v_YoYo_g08_c01.avi", "YoYo")]
    assert listed(find_videos(path, videos=videos), videos) == [
        ("ApplyLipstick/v_ApplyLipstick_g01_c01", "ApplyLipstick")
    ]
    with pytest.raises(InputError, match="say which part"):
        find_videos(lists, videos=videos)
    with pytest.raises(InputError, match="is one part itself"):
        find_videos(path, videos=videos, part="train1")


def test_hmdb51(tmp_path):
    splits, videos = tmp_path / "splits", tmp_path / "hmdb51"
    touch(*(videos / "wave" / f"{name}.avi" for name in "abc"), videos / "brush_hair" / "d.avi")
    write(splits / "wave_test_split1.txt", "a.avi 1 \nb.avi 2 \nc.avi 0 \n")
    write(splits / "brush_hair_test_split1.txt", "d.avi 1 \n")
    found = find_videos(splits, videos=videos, part="train1")
    assert found.class_names == class_names("hmdb51")
    assert listed(found, videos) == [("brush_hair/d.avi", "brush_hair"), ("wave/a.avi", "wave")]
    assert listed(find_videos(splits, videos=videos, part="test1"), videos) == [("wave/b.avi", "wave")]
    write(splits / "wave_test_split1.txt", "a.avi 1\nb.avi yes\n")
    with pytest.raises(InputError, match=r"wave_test_split1\.txt, line 2"):
        find_videos(splits, videos=videos, part="train1")


def test_layouts_that_cannot_be_told_or_do_not_exist(tmp_path):
    with pytest.raises(InputError, match="layout cannot be told"):
        find_videos(write(tmp_path / "a.tsv", "x"))
    with pytest.raises(ValueError, match="layout is one of"):
        find_videos(tmp_path, "imagenet")


def test_real_clips(test_data):
    found = find_videos(test_data / "video" / "clips" / "frames_demo")
    assert found.class_names == ("jumping", "running") and len(found.samples) == 4
    found = find_videos(test_data / "video" / "fights_mp4" / "labels.csv")
    assert found.class_names == ("fight", "no_fight") and len(found.samples) == 12
