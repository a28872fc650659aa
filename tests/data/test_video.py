import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.video import AvReader, DecordReader, FrameFolderReader, open_video, read_clip, stream_video
from zoo.data.video_writer import write_video
from zoo.errors import InputError


def numbered(num_frames):
    """Frames that bear their number in binary, as light and dark squares."""
    frames = torch.full((num_frames, 64, 128, 3), 40, dtype=torch.uint8)
    for number in range(num_frames):
        for bit in range(8):
            if number >> bit & 1:
                frames[number, :32, 16 * bit : 16 * bit + 16] = 220
    return frames


def numbers(frames):
    """The numbers that frames bear."""
    return [sum(int(f[4:28, 16 * b + 4 : 16 * b + 12].float().mean() > 128) << b for b in range(8)) for f in frames]


def encode(path, num_frames, codec, **options):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 64, 128, "yuv420p", options
        for frame in numbered(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, numbered(100), fps=25)
    return path


def frame_folder(path, num_frames=12, size=(32, 24)):
    path.mkdir()
    for number in range(num_frames):
        Image.new("RGB", size, (10 * number, 0, 0)).save(path / f"img_{number + 1}.png")
    return path


def test_a_clip_holds_the_middle_frames_of_the_segments(video):
    clip = read_clip(video, 8)
    assert clip.frames.shape == (8, 64, 128, 3) and clip.frames.dtype == torch.uint8
    assert numbers(clip.frames) == list(clip.indices) == [6, 18, 31, 43, 56, 68, 81, 93]
    assert clip.fps == 25 and clip.num_video_frames == 100 and clip.warnings == ()


def test_random_sampling_repeats_with_the_same_generator(video):
    clips = [read_clip(video, 8, "random", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert clips[0].indices == clips[1].indices != clips[2].indices
    assert torch.equal(clips[0].frames, clips[1].frames)
    with pytest.raises(ValueError, match="sampling"):
        read_clip(video, 8, "dense")


def test_frames_come_in_the_asked_order_and_as_often_as_asked(video):
    for reader in (open_video(video), AvReader(video)):
        for indices in ([99, 0, 50, 50, 3], [7], list(range(20))):
            assert numbers(reader.read(indices)) == indices


def test_indices_out_of_range_are_refused(video, tmp_path):
    for reader in (open_video(video), AvReader(video), FrameFolderReader(frame_folder(tmp_path / "frames"))):
        for indices in ([], [-1], [reader.num_frames]):
            with pytest.raises(ValueError, match="indices"):
                reader.read(indices)


def test_h264_goes_through_decord_which_agrees_with_pyav(video):
    reader = open_video(video)
    assert isinstance(reader, DecordReader)
    assert torch.equal(reader.read([0, 40, 99]), AvReader(video).read([0, 40, 99]))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("open_gop.mp4", "libx264", {"g": "12", "bf": "4", "x264-params": "open-gop=1:b-pyramid=normal"}),
        ("intra_refresh.mp4", "libx264", {"g": "20", "x264-params": "intra-refresh=1"}),
        ("a.mkv", "libx264", {"g": "12", "bf": "3"}),
        ("a.ts", "libx264", {"g": "12", "bf": "3"}),
        ("a.avi", "libx264", {"g": "12", "bf": "3"}),
        ("a.mp4", "libx265", {"x265-params": "keyint=12:open-gop=1:log-level=none"}),
        ("a.mpg", "mpeg2video", {"g": "12", "bf": "2", "b": "3000k"}),
        ("a.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("a.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "30", "b": "500k"}),
        ("a.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "30", "b": "500k"}),
    ],
)
def test_frames_are_exact_in_every_format(tmp_path, name, codec, options):
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"FFmpeg was built without {codec}")
    encode(tmp_path / name, 60, codec, **options)
    reader = open_video(tmp_path / name)
    assert reader.num_frames == 60
    for indices in ([44, 3, 58], [28, 29, 37, 44, 58], [59], [11, 12, 13]):
        assert numbers(reader.read(indices)) == indices


def test_streaming_gives_every_frame_once(video, tmp_path):
    assert numbers(stream_video(video)) == list(range(100))
    folder = frame_folder(tmp_path / "frames")
    assert [int(frame[0, 0, 0]) for frame in stream_video(folder)] == [10 * number for number in range(12)]


def test_a_short_video_repeats_frames_and_says_so_once(tmp_path):
    write_video(tmp_path / "short.mp4", numbered(3), fps=25)
    clip = read_clip(tmp_path / "short.mp4", 8)
    assert numbers(clip.frames) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert len(clip.warnings) == 1 and "3 frames" in clip.warnings[0] and "short.mp4" in clip.warnings[0]


def test_a_folder_of_frames_is_read_in_natural_order(tmp_path):
    clip = read_clip(frame_folder(tmp_path / "frames"), 12)
    assert clip.frames.shape == (12, 24, 32, 3)
    assert clip.frames[:, 0, 0, 0].tolist() == [10 * number for number in range(12)]


def test_a_folder_of_mixed_sizes_is_refused(tmp_path):
    folder = frame_folder(tmp_path / "frames")
    Image.new("RGB", (50, 50)).save(folder / "img_7.png")
    with pytest.raises(InputError, match=r"img_7\.png is 50x50 .* one size"):
        read_clip(folder, 12)


def test_a_damaged_picture_in_a_folder_is_refused(tmp_path):
    folder = frame_folder(tmp_path / "frames")
    data = (folder / "img_7.png").read_bytes()
    (folder / "img_7.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"img_7\.png"):
        read_clip(folder, 12)


def refuse(path, pattern, num_frames=8):
    """It is refused after little work, in one line that names the file and matches ``pattern``."""
    begin = time.process_time()  # as what else the machine does is no business of the reader
    with pytest.raises(InputError, match=pattern) as caught:
        read_clip(path, num_frames)
    assert time.process_time() - begin < 4
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_video_is_refused(tmp_path):
    refuse(tmp_path / "missing.mp4", "not there")
    (tmp_path / "empty.mp4").write_bytes(b"")
    refuse(tmp_path / "empty.mp4", "empty")
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(300_000))
    refuse(tmp_path / "garbage.mp4", "no readable video")
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 500)
    refuse(tmp_path / "text.mp4", "no readable video")
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    refuse(tmp_path / "playlist.mp4", "video")
    (tmp_path / "nothing").mkdir()
    refuse(tmp_path / "nothing", "no .jpg or .png frames")


def test_a_list_of_videos_is_not_followed(tmp_path, video):
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    (tmp_path / video.name).write_bytes(video.read_bytes())
    refuse(tmp_path / "list.mp4", "list of videos")


def test_sound_alone_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refuse(tmp_path / "sound.mp4", "sound only")


def test_a_picture_is_refused_whatever_its_name(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    refuse(tmp_path / "a.png", "folder of frames")
    (tmp_path / "a.mp4").write_bytes((tmp_path / "a.png").read_bytes())
    refuse(tmp_path / "a.mp4", "folder of frames")


@pytest.mark.parametrize("suffix", [".ply", ".pcd", ".off", ".npy", ".txt"])
def test_a_point_cloud_is_sent_to_a_point_model(tmp_path, suffix):
    (tmp_path / f"cloud{suffix}").write_text("0 0 0\n1 1 1\n")
    refuse(tmp_path / f"cloud{suffix}", "point model")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Noise that is costly to encode: 48 frames, a key frame every 12."""
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    import av

    pictures = np.random.default_rng(0).integers(0, 255, (48, 64, 96, 3), dtype=np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = (
            64,
            96,
            "yuv420p",
            {"g": "12", "sc_threshold": "0"},
        )
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def damage(source, target, share, num_bytes=400, fill=0xA5):
    data = bytearray(source.read_bytes())
    begin = data.index(b"mdat")
    middle = begin + int((len(data) - begin) * share)
    data[middle : middle + num_bytes] = bytes([fill]) * num_bytes
    target.write_bytes(data)


@pytest.mark.parametrize("fill", [0, 0xA5, 0xFF])
def test_a_damaged_wanted_frame_is_refused_and_whole_ones_are_read(noise, tmp_path, fill):
    damage(noise, tmp_path / "bad.mp4", 0.375, fill=fill)  # within the second of four groups of frames
    refuse(tmp_path / "bad.mp4", "frame .* of 48 cannot be decoded", 48)
    whole = [*range(12), *range(24, 48)]
    for reader in (open_video(tmp_path / "bad.mp4"), AvReader(tmp_path / "bad.mp4")):
        assert torch.equal(reader.read(whole), open_video(noise).read(whole))
        with pytest.raises(InputError, match="cannot be decoded"):
            reader.read([2, 23, 40])
        assert torch.equal(reader.read([30]), open_video(noise).read([30]))


def test_a_video_that_was_cut_off_is_refused(noise, tmp_path):
    data = noise.read_bytes()
    (tmp_path / "begun.mp4").write_bytes(data[: len(data) // 2])
    refuse(tmp_path / "begun.mp4", "ends before its time")
    write_video(tmp_path / "plain.mp4", numbered(30), 25)  # its index comes last, and is lost
    data = (tmp_path / "plain.mp4").read_bytes()
    (tmp_path / "plain.mp4").write_bytes(data[: len(data) // 2])
    refuse(tmp_path / "plain.mp4", "no readable video")


def test_nothing_is_printed_about_a_damaged_video(noise, tmp_path, capfd):
    damage(noise, tmp_path / "bad.mp4", 0.375)
    refuse(tmp_path / "bad.mp4", "cannot be decoded", 48)
    assert capfd.readouterr() == ("", "")


def test_decord_is_not_used_for_what_it_reads_wrongly(tmp_path):
    encode(tmp_path / "a.mkv", 10, "mpeg4")
    with pytest.raises(InputError, match="open_video"):
        DecordReader(tmp_path / "a.mkv")


def test_a_missing_decord_is_named_with_the_line_that_brings_it(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="pip install decord"):
        DecordReader(video)
