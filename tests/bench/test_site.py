"""The website of results in a real browser: it sorts, filters, tells of models, and turns its cloud, all by itself."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.bench.bench_records import record, report
from tests.bench.browser import Browser, find_chromium
from tools import make_demo_inputs
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video
from zoo.errors import InputError

ROOT = Path(__file__).parents[2]
MODELS = {"pvcnn_sem_c1": 100.0, "pvcnn_sem_c0p25": 20.0, "pvcnn_sem_c0p125": 12.0, "pointnet_sem": 15.0}
ROWS = "[...document.querySelectorAll('#records tbody tr')].map(row => row.cells[{}].textContent)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def make_site():
    spec = importlib.util.spec_from_file_location("make_site", ROOT / "tools/make_site.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope="module")
def site(make_site, tmp_path_factory) -> Path:
    """A page of made-up figures."""
    folder = tmp_path_factory.mktemp("site")
    write_video(folder / "gesture.mp4", make_demo_inputs.draw_gesture(160, 8), fps=8)
    write_ply(folder / "cloud.ply", *make_demo_inputs.sample_tabletop(np.random.default_rng(0)))
    records = [record(model=name, p50_ms=ms) for name, ms in MODELS.items()]
    records += [
        record(model="pvcnn_sem_c1", runtime="openvino", requested="openvino", p50_ms=9.0, noisy=True, noise=0.2)
    ]
    clip = {"task": "video_classification", "unit": "clip", "input": "8 x 3 x 224 x 224", "memory_mb": None}
    records += [record(model="tsm_resnet50", p50_ms=400.0, **clip)]
    text = make_site.page([report(*records)], ROOT / "model_cards", folder / "gesture.mp4", folder / "cloud.ply")
    (folder / "index.html").write_text(text)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser():
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with Browser(program) as started:
        yield started


@pytest.fixture
def page(browser, site):
    browser.open("about:blank")
    browser.open(f"file://{site}")
    return browser


def test_the_page_asks_for_nothing_and_has_no_errors(page):
    asked = [
        event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.value("location.href")]
    assert not [event for event in page.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]


def test_a_click_on_a_column_sorts_and_another_turns_the_order(page):
    names = page.value(ROWS.format(0))
    assert names[0] == "pvcnn_sem_c1" and names[-1] == "tsm_resnet50"  # by the median, the fastest first
    page.click("th[data-key=model] button")
    ordered = ["pointnet_sem", "pvcnn_sem_c0p125", "pvcnn_sem_c0p25", "pvcnn_sem_c1", "pvcnn_sem_c1", "tsm_resnet50"]
    assert page.value(ROWS.format(0)) == ordered
    page.click("th[data-key=model] button")
    assert page.value(ROWS.format(0)) == ordered[::-1]
    assert page.value("document.querySelector('th[data-key=model]').ariaSort") == "descending"
    page.click("th[data-key=memory_mb] button")
    page.click("th[data-key=memory_mb] button")
    assert page.value(ROWS.format(0))[-1] == "tsm_resnet50"  # what was not measured is last either way


def test_words_and_choices_filter(page):
    page.click("#filter")
    page.type("pvcnn OPENVINO")
    assert page.value(ROWS.format(0)) == ["pvcnn_sem_c1"]
    assert page.value("document.getElementById('count').textContent") == "1 of 6"
    assert "20.0 % (noisy)" in page.value(ROWS.format(11))
    choose = "(box => {{ box.value = '{}'; box.dispatchEvent(new Event('input')) }})(document.getElementById('{}'))"
    page.value(choose.format("", "filter") + ";" + choose.format("video_classification", "task"))
    assert page.value(ROWS.format(0)) == ["tsm_resnet50"]


def test_the_plot_tells_of_the_dot_under_the_mouse(page):
    front = page.value("[...document.querySelectorAll('circle.best')].map(dot => dot.dataset.name)")
    assert set(front) == {"pvcnn_sem_c1.s3dis_area5"}  # in OpenVINO it is the fastest and the best
    assert page.value("document.querySelectorAll('circle').length") == 5
    assert page.value("document.getElementById('tip').hidden")
    x, y = page.center("circle.best")
    page.mouse("mouseMoved", x, y)
    tip = page.value("document.getElementById('tip').innerText")
    assert tip.splitlines()[0] == "pvcnn_sem_c1.s3dis_area5" and "9.000 ms, mean IoU 0.57" in tip and "noisy" in tip
    picture = page.picture("#plot svg")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    kinds = page.value("[...document.getElementById('dataset').options].map(option => option.value)")
    assert any("Kinetics-400" in kind for kind in kinds)


def test_a_model_has_a_page_with_its_card(page):
    page.click("circle.best")
    page.until("!document.getElementById('model').hidden")
    assert page.value("document.querySelector('#model h1').textContent") == "pvcnn_sem_c1.s3dis_area5"
    text = page.value("document.getElementById('model').innerText")
    assert "Training data" in text and "openvino" in text and "library_name" not in text
    assert page.value("getComputedStyle(document.getElementById('overview')).display") == "none"
    page.click("#model a")
    page.until("document.getElementById('model').hidden")


def test_an_architecture_leads_to_its_weights(page):
    page.value("location.hash = 'tsm_resnet50'")
    page.until("!document.getElementById('model').hidden")
    assert "tsm_resnet50.k400_8f" in page.value("document.querySelector('#model ul').innerText").split()


def test_the_recording_plays(page):
    page.until("document.getElementById('stream').readyState >= 2")
    assert page.value("document.getElementById('stream').videoWidth") == 320


def test_the_mouse_turns_the_cloud(page):
    before = page.picture("#cloud")
    background = before[2, 2]
    assert (before != background).any(axis=2).mean() > 0.05
    x, y = page.center("#cloud")
    page.mouse("mousePressed", x, y, button="left", buttons=1)
    for step in range(1, 6):
        page.mouse("mouseMoved", x + 20 * step, y, button="left", buttons=1)
    page.mouse("mouseReleased", x + 100, y, button="left")
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
    turned = page.picture("#cloud")
    assert (turned != before).any(axis=2).mean() > 0.05
    page.click("#labels")
    colors = [{tuple(color) for color in shot[::4, ::4].reshape(-1, 3)} for shot in (turned, page.picture("#cloud"))]
    assert len(colors[1]) > 4 * len(colors[0])  # the scanner's colours instead of one for each class


def test_a_script_in_a_card_is_shown_and_not_run(make_site, tmp_path):
    card = tmp_path / "evil.md"
    card.write_text("---\na: b\n---\n\n# evil\n\n<script>alert(1)</script>\n")
    assert "<script" not in make_site.card_html(card) and "&lt;script&gt;" in make_site.card_html(card)


def test_without_figures_the_remedy_is_said(make_site, tmp_path):
    options = make_site.argparse.Namespace(results=tmp_path, video=None, cloud=None, out=tmp_path / "site")
    with pytest.raises(InputError, match="run `zoo bench"):
        make_site.make(options)
