"""Cards tell the latency where it was measured."""

from tests.bench.bench_records import record, report
from zoo import hub
from zoo.bench.latency_text import latency_text, read_reports
from zoo.registry import find_weights

SPEC = find_weights("pvcnn_sem_c0p25.s3dis_area5")


def test_a_card_has_the_figures_of_its_weights(tmp_path):
    measured = report(record(p50_ms=20.0), record(model=SPEC.name, runtime="openvino", p50_ms=8.0), record(model="tsm"))
    measured.write(tmp_path / "latency_cpu")
    text = latency_text(SPEC, read_reports(tmp_path))
    assert "One input is a cloud of 9 x 4096, 1 G multiply-accumulates. processor Fast CPU, cores 2." in text
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == ["| openvino", "| eager"]
    card = hub.model_card(SPEC, SPEC.name, 200_000, latency=text)
    assert card.index("## Accuracy") < card.index("## Latency") < card.index(text) < card.index("## Training data")


def test_a_card_without_figures_has_no_such_section(tmp_path):
    text = latency_text(SPEC, [report(record(model="tsm_resnet50"))])
    assert text == "" and "## Latency" not in hub.model_card(SPEC, SPEC.name, 200_000, latency=text)
