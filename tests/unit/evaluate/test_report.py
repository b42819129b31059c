"""The report: what stands in it, and that what a review says never becomes part of the page."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.metrics import Predictions
from components.evaluate.report import Judged, render_report
from components.evaluate.split import Split

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
PLANTED = (
    "</blockquote><script>document.title = 'planted'</script>"
    "<img src=x onerror=\"document.title='planted'\"><h1 id=planted>planted</h1> & &lt;b&gt;"
)
# What breaks out of an attribute, a comment, a style, a title, an SVG, a template, or a line.
HOSTILE = (
    PLANTED,
    "</style></title></svg>--></textarea><script>document.title = 'planted'</script>",
    "\" onmouseover=\"document.title='planted'\" autofocus onfocus='document.title=1' x='",
    "<svg/onload=document.title='planted'><math><style><img src onerror=document.title='planted'>",
    "<iframe srcdoc=\"<script>parent.document.title='planted'</script>\"></iframe><base href=//x>",
    "line\u2028document.title='planted'\u2029\x85<a href=\"javascript:document.title='planted'\">",
    "<body onload=document.title='planted'><meta http-equiv=refresh content='0;url=data:,planted'>",
    "{{ 7 * 7 }}{% raw %}<!--<script>\x00document.title='planted'\u202e</script> &#60;script&#62;",
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


class Page(HTMLParser):
    """The elements of a page, with their attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.text += " "

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def judged(*first_texts: str, champion: bool = True) -> Judged:
    """40 reviews; the candidate is surest about the first ones, and wrong."""
    draw = np.random.default_rng(0)
    labels = np.arange(40) % 2
    first = [text.encode() for text in first_texts or ("a review",)]
    texts = first + [f"review {'word ' * row}".encode() for row in range(len(first), 40)]
    noisy = {
        name: np.clip(0.5 + (labels - 0.5) * sure + draw.normal(size=40) * 0.3, 0.01, 0.98)
        for name, sure in (("candidate", 0.6), ("champion", 0.5), ("baseline", 0.9))
    }
    for row in range(len(first)):
        noisy["candidate"][row] = (0.999, 0.001)[labels[row]]
    if not champion:
        del noisy["champion"]
    models = {name: Predictions.of_probabilities(values) for name, values in noisy.items()}
    return Judged(Split(texts, labels), models)


def evaluation(case: Judged, **changes: Any) -> dict[str, Any]:
    reason = {"name": "min_accuracy", "value": 0.5, "threshold": 0.6, "details": {}}
    reasons = [{**reason, "passed": False, "sentence": "accuracy 0.5 must be at least 0.6"}]
    descriptions = case.descriptions
    champion = descriptions.get("champion")
    return {
        **descriptions["candidate"],
        "baseline": descriptions["baseline"]["metrics"],
        "champion": champion and {"version": 3, "metrics": champion["metrics"]},
        "best_ever": champion and {"version": 2, "accuracy": 0.8765},
        "latency": {"requests": 100, "median_ms": 12.34, "p95_ms": 23.45, "max_ms": 34.5},
        "decision": {"blessed": False, "reasons": reasons},
        "source": "bundled",
        "test_split": "held out of train",
        "splits": {"test": 40, "train": 100, "validation": 10},
        "fingerprint": "f" * 64,
        "test_fingerprint": "e" * 64,
        "preset": "default",
        "config": {"train": {"hidden_size": 64.0, "clip_norm": None, "bidirectional": True}},
        "devices": {"kind": "GPU", "count": 2, "name": "NVIDIA <b>H200</b>"},
        "saved_model_manifest": {"saved_model.pb": "a" * 64},
        **changes,
    }


def render(case: Judged, **changes: Any) -> str:
    return render_report(evaluation(case, **changes), case)


def test_it_says_what_was_found() -> None:
    case = judged()
    text = " ".join(Page(render(case)).text.split())
    assert "NOT_BLESSED The gate refuses the candidate: accuracy 0.5 must be at least 0.6." in text
    for name, known in case.descriptions.items():
        assert f"{known['metrics']['accuracy']:.4f}" in text, name
    assert "Champion (version 3)" in text
    assert "hidden_size 64 clip_norm none bidirectional yes" in text
    assert "Test, held out of train 40" in text
    assert "Trained on 2 GPUs: NVIDIA <b>H200</b>" in text
    assert "Trained on" not in Page(render(case, devices=None)).text


def test_it_says_how_candidate_and_baseline_differ() -> None:
    case = judged()
    ours, its = (case.models[m].correct(case.test.labels) for m in ("candidate", "baseline"))
    gains, losses = np.sum(ours & ~its), np.sum(its & ~ours)
    assert gains != losses
    text = " ".join(Page(render(case)).text.split())
    side = "above" if gains > losses else "below"
    assert f"{abs(gains - losses) / 40 * 100:.3g} points {side} the linear baseline's" in text
    assert f"right on {gains} reviews that the other gets wrong, and wrong on {losses}" in text


def test_it_shows_slices_best_ever_and_latency() -> None:
    case = judged()
    text = " ".join(Page(render(case)).text.split())
    assert "Best ever on this test 0.8765, version 2" in text
    assert "Single request, median 12.34 ms (95 %: 23.45)" in text
    table = text.split("Slices")[1].split("Most confident")[0]
    ours, its = (
        case.descriptions[name]["slices"]["label"][0] for name in ("candidate", "champion")
    )
    drop = f"{ours['accuracy'] - its['accuracy']:+.4f}".replace("-", "\N{MINUS SIGN}")
    figures = f"{ours['accuracy']:.4f} {its['accuracy']:.4f} {drop} {ours['loss']:.4f}"
    assert f"negative reviews 20 {figures}" in table
    assert table.count("words") == 4
    alone = judged(champion=False)
    text = " ".join(Page(render(alone, latency=None)).text.split())
    assert "Best ever" not in text and "Single request" not in text
    assert "Champion" not in text.split("Slices")[1].split("Most confident")[0]


def test_a_passed_gate_without_a_champion() -> None:
    reason = {"name": "n", "passed": True, "value": None, "threshold": 0.0, "details": {}}
    decision = {"blessed": True, "reasons": [{**reason, "sentence": "no champion yet"}]}
    html = render(judged(champion=False), decision=decision)
    assert "The candidate passes all of the gate's checks." in " ".join(Page(html).text.split())
    assert "Champion" not in html


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert render(judged()) == render(judged())


def test_it_loads_nothing_and_runs_nothing() -> None:
    page = Page(render(judged()))
    assert not page.tags() & {
        "script",
        "link",
        "img",
        "image",
        "iframe",
        "object",
        "audio",
        "video",
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data"):
                assert value is not None
                assert value.startswith("#"), (tag, name, value)
            assert not name.startswith("on"), (tag, name)


def test_no_id_stands_twice_and_each_reference_has_its_target() -> None:
    html = render(judged())
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:xlink:href="#|url\(#)([^")]*)', html)
    assert references
    assert set(references) <= set(ids)


@pytest.mark.parametrize("where", ["review", "source", "preset", "config", "sentence"])
def test_planted_markup_stays_text(where) -> None:
    planted = "\n".join(HOSTILE)
    case = judged(*HOSTILE if where == "review" else ())
    reason = {"name": "n", "passed": False, "value": 0.1, "threshold": 0.2, "details": {}}
    changes: dict[str, Any] = {
        "review": {},
        "source": {"source": planted},
        "preset": {"preset": planted},
        "config": {"config": {planted: {planted: planted}}},
        "sentence": {"decision": {"blessed": False, "reasons": [{**reason, "sentence": planted}]}},
    }
    page = Page(render(case, **changes[where]))
    for text in HOSTILE:
        assert (" ".join(text.split()) if where == "review" else text) in page.text
    assert not page.tags() & {"script", "img", "iframe", "base", "math", "a"}
    assert [tag for tag, _ in page.elements].count("h1") == 1


def dump_dom(path: Path, profile: Path) -> Page:
    """What a browser has made of a page after its scripts have run."""
    arguments = [*FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"file://{path}"]
    done = subprocess.run([BROWSER, *arguments], check=True, capture_output=True, encoding="utf-8")
    return Page(done.stdout)


@pytest.mark.skipif(not BROWSER, reason="there is no chromium or chrome to open the report with")
def test_planted_markup_does_not_run_in_a_browser(tmp_path: Path) -> None:
    html = render(judged(*HOSTILE))
    # Without the page's own policy against scripts, so that escaping has to do.
    html, removed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert removed == 1
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    page = dump_dom(tmp_path / "report.html", tmp_path / "profile")
    assert page.text.lstrip().startswith("NOT_BLESSED: bundled, default")
    for text in HOSTILE:
        assert " ".join(text.replace("\x00", "").split()) in page.text
    assert not page.tags() & {"script", "img", "iframe", "base", "math", "a"}
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    # The same, not escaped, does run there.
    (tmp_path / "raw.html").write_text(f"<title>as it was</title>{PLANTED}", encoding="utf-8")
    assert dump_dom(tmp_path / "raw.html", tmp_path / "profile").text.lstrip().startswith("planted")


def test_it_quotes_the_surest_mistakes_and_cuts_them_short() -> None:
    case = judged(f"first <br /><br />  second {'x' * 400}")
    page = Page(render(case))
    quote = f"first second {'x' * 400}"[:300] + "…"
    assert quote in page.text
    wrong = ~case.models["candidate"].correct(case.test.labels)
    quotes = [tag for tag, _ in page.elements].count("blockquote")
    assert quotes == min(10, int(wrong.sum()))
    surest = page.text.split("Most confident mistakes")[1].split("but given")[1]
    assert surest.split()[0] == "0.9990"


def test_a_candidate_without_mistakes() -> None:
    case = judged()
    perfect = Predictions.of_probabilities(case.test.labels.astype(float))
    case.models["candidate"] = perfect
    text = " ".join(Page(render(case)).text.split())
    assert "Most confident mistakes None." in text


def test_invalid_predictions_are_said_loudly() -> None:
    case = judged()
    case.models["candidate"] = Predictions(np.full(40, np.nan), np.zeros(40, np.int64))
    html = render(case)
    text = " ".join(Page(html).text.split())
    assert "gave 40 of 40 reviews something that isn't a probability" in text
    assert "Confusion matrix" not in text
    assert "points" not in text.split("Why")[0]
    assert html.count("<svg") == 3
