"""Model cards: as new as the figures, readable by the Hub, and with lines that run."""

import dataclasses
import re
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

import zoo
from tests.engine.test_publish import ROOT, load_tool
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video
from zoo.engine.command_line import parse_config
from zoo.engine.config import ValidateConfig
from zoo.hub import bundled_names, model_card
from zoo.hub.card import usage
from zoo.registry import find_weights
from zoo.weights import Metric, VideoInput, WeightsSpec, channels_of

NAMES = zoo.list_models(pretrained=True)


def code_of(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


def test_cards_and_readme_are_as_new_as_the_figures():
    tool = load_tool("make_cards")
    stale = tool.stale(tool.pages())
    assert not stale, f"run `make cards`: {', '.join(path.name for path in stale)}"


def test_a_changed_figure_makes_them_stale_and_making_mends_them(tmp_path, monkeypatch, capsys):
    tool = load_tool("make_cards")
    for name in ("README.md", *(f"model_cards/{name}.md" for name in NAMES)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    shutil.copytree(ROOT / "model_cards/results", tmp_path / "model_cards/results")  # the latency in the cards
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    assert tool.make(check=True) == 0
    card = tmp_path / f"model_cards/{NAMES[0]}.md"
    value = f"{find_weights(NAMES[0]).metrics[0].value:.4g}"
    for file in (card, tmp_path / "README.md"):
        file.write_text(file.read_text().replace(value, "0.9999"))
    (tmp_path / "model_cards/gone.md").write_text("of a model that is no more")
    assert tool.make(check=True) == 1
    assert capsys.readouterr().out.split() == [f"model_cards/{NAMES[0]}.md", "README.md", "model_cards/gone.md"]
    assert tool.make(check=False) == 0 and tool.make(check=True) == 0
    assert card.read_text() == (ROOT / f"model_cards/{NAMES[0]}.md").read_text()


@pytest.mark.parametrize("name", bundled_names())
def test_every_figure_of_ours_names_a_whole_command(name):
    card = (ROOT / f"model_cards/{name}.md").read_text()
    for metric in find_weights(name).metrics:
        assert f"| this project, `{metric.source}` |" in card
        tool, *arguments = shlex.split(metric.source, comments=True)
        config = parse_config(ValidateConfig, arguments)
        assert tool == "tools/validate.py" and config.model and config.data.path
        network = metric.name.rpartition(" of ")[2]
        if network in zoo.list_models():  # compared with; how it was trained is told too
            assert config.model.startswith("local-dir:") and network in find_weights(name).origin
        if "folds" in metric.dataset:
            assert metric.source.endswith(f"# the first of {metric.dataset.split()[0]} folds")


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_reads_a_card(name):
    spec = find_weights(name)
    card = ModelCard.load(ROOT / f"model_cards/{name}.md")
    assert card.data.license == spec.licence.lower() and card.data.library_name
    is_video = isinstance(spec.input, VideoInput)
    assert card.data.pipeline_tag == ("video-classification" if is_video else None)
    assert is_video or "point-cloud" in card.data.tags
    own = [metric for metric in spec.metrics if " of " not in metric.name]
    for result, metric in zip(card.data.eval_results or [], own, strict=True):
        assert (result.metric_value, result.dataset_name) == (metric.value, metric.dataset)
        assert result.metric_args["protocol"] == metric.protocol
    for title in ("Use", "Classes", "Accuracy", "Training data", "Weights", "Licence", "Limits", "Citation"):
        assert f"\n## {title}" in card.text


@pytest.mark.parametrize("name", bundled_names())
def test_the_lines_of_a_card_run_on_such_a_file(name, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    write_video(tmp_path / "clip.mp4", rng.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8), fps=8)
    colors = rng.integers(0, 255, (200, 3), dtype=np.uint8)
    write_ply(tmp_path / "scan.ply", rng.normal(size=(200, 3)).astype(np.float32), colors)
    spec = find_weights(name)
    features = 0 if isinstance(spec.input, VideoInput) else channels_of(spec.input.features)
    np.savetxt(tmp_path / "points.txt", rng.uniform(0, 2, (200, features)))
    monkeypatch.chdir(tmp_path)
    lines = code_of((ROOT / f"model_cards/{name}.md").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of what the file lacks
        exec(lines, {})
    out = capsys.readouterr().out
    assert len(lines.splitlines()) == 3
    if "labels.ply" in lines:
        assert b"label" in Path("labels.ply").read_bytes()[:1000]
    else:
        assert all(class_name in out for class_name in spec.class_names[:5])


def test_the_lines_name_the_columns_of_the_file():
    radar = find_weights("pvcnn_cls_c0p25.radhar")
    assert '("points.txt")' in usage(radar, "x") and usage(radar, "x").endswith("x y z velocity intensity time")
    assert '("scan.ply")' in usage(find_weights("pvcnn_sem_c1.s3dis_area5"), "x")
    assert usage(find_weights("pvcnn_sem_c1.s3dis_area5"), "x").endswith("with x y z red green blue")
    assert usage(find_weights("pvcnn_sem_c0p25.isprs"), "x").endswith("with x y z")


@pytest.mark.parametrize(
    ("architecture", "tag", "arguments", "words"),
    [
        ("tsm_resnet50", "k400_8f", {}, ["Kinetics-400", "video-classification", 'zoo.load("x")', "lin2019tsm"]),
        ("tsm_resnet50", "k400_flow_8f", {"modality": "flow"}, ["torch.zeros(1, 8, 10, 224, 224)"]),
        ("tsn_resnet50", "k400_5f", {}, ["wang2016tsn"]),
        ("pvcnn_part_c1", "shapenet_dml", {}, ["ShapeNet Part", 'category="Chair"', "liu2019pvcnn"]),
        ("frustum_pvcnne", "kitti", {}, ["KITTI", "torch.rand(1, 4, 1024)", "qi2018frustum", "3d-object-detection"]),
        ("pointnet2_part_msg", "mine", {}, ["qi2017pointnet2", "Trained by me"]),
    ],
)
def test_weights_from_elsewhere_have_a_card_without_their_file(architecture, tag, arguments, words):
    model = zoo.create_model(architecture, **arguments)
    said = Metric("top-1 accuracy", 71.2, "a set", "one crop", "reported by the authors, https://example.org/|x|")
    spec = dataclasses.replace(model.spec, tag=tag, licence="MIT", origin="trained by me", metrics=(said,))
    text = model_card(spec, "x", 1_000_000)
    card = ModelCard(text)
    assert card.data.eval_results[0].metric_value == 71.2
    assert "reported by the authors, https://example.org/" in card.text and "this project" not in card.text
    for word in words:
        assert word in text, word
    if "torch" in code_of(text):
        lines = code_of(text).replace('zoo.create_model("x", pretrained=True)', "model")
        exec(lines, {"model": model})


def test_a_model_of_ones_own_has_a_card_that_says_what_is_not_known():
    spec = WeightsSpec("pvcnn_cls_c0p25", "", 40, zoo.create_model("pvcnn_cls_c0p25").spec.input)
    card = ModelCard(model_card(spec, "x", 1))
    assert card.data.license is None and card.data.eval_results is None
    for words in ("Not measured.", "Not said.", "None is given"):
        assert words in card.text
