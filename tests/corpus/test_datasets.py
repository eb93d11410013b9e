"""A corpus out of a data set: real `datasets` on Parquet and JSON-lines shards in the schema of SlimPajama."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tokenizers import Tokenizer, models, pre_tokenizers

from maxact.corpus import ready_dataset, sampled_dataset, stage
from maxact.corpus.choosing import TextSample
from maxact.corpus.scripts import meets, script_of
from maxact.errors import UserError
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store

LETTERS = {
    "Latn": "a quick brown fox jumps over lazy dogs ",
    "Hani": "天地玄黃宇宙洪荒日月盈昃辰宿列張",
    "Cyrl": "съешь ещё этих мягких булок ",
    "Arab": "نص حكيم له سر قاطع ",
}
DOMAINS = [
    {"name": "chinese", "subsets": [], "scripts": ["Hani"], "language": "zh"},
    {"name": "minority", "subsets": [], "scripts": ["not Latn", "not Hani", "not Zyyy"], "language": "und"},
    {"name": "math", "subsets": ["RedPajamaArXiv"], "scripts": [], "language": "en"},
    {"name": "web", "subsets": ["RedPajamaC4", "RedPajamaBook"], "scripts": [], "language": "en"},
    {"name": "other", "subsets": ["RedPajamaCommonCrawl"], "scripts": [], "language": "en"},
]


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` waits 5 seconds whenever a stream of Parquet or JSON is left before its end."""
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)


@pytest.fixture(scope="module")
def characters() -> Tokenizer:
    """One token for each character, so that lengths can be counted by hand."""
    alphabet = sorted(set("".join(LETTERS.values())) | set("0123456789"))
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    return tokenizer


def document(subset: str, script: str, number: int, length: int) -> dict[str, Any]:
    text = (f"{number} " + LETTERS[script] * (length // len(LETTERS[script]) + 1))[:length]
    return {"text": text, "meta": {"redpajama_set_name": subset}}


def documents(counts: dict[tuple[str, str], int], length: int = 80) -> list[dict[str, Any]]:
    made = [(subset, script) for (subset, script), count in counts.items() for _ in range(count)]
    return [document(*kind, number, length) for number, kind in enumerate(made)]


ENOUGH = {
    ("RedPajamaArXiv", "Latn"): 20,
    ("RedPajamaC4", "Latn"): 20,
    ("RedPajamaBook", "Latn"): 5,
    ("RedPajamaCommonCrawl", "Latn"): 20,
    ("RedPajamaC4", "Hani"): 10,
    ("RedPajamaCommonCrawl", "Cyrl"): 5,
    ("RedPajamaWikipedia", "Arab"): 5,
}


def json_lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(zstandard.compress(data) if file.suffix == ".zst" else data)
    return file


def parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "parquet": parquet,
    "jsonl": json_lines,
    "jsonl.zst": json_lines,
}


def shards(folder: Path, rows: list[dict[str, Any]], suffix: str = "jsonl", count: int = 3) -> dict[str, Any]:
    """The source of a study: rows dealt out to files."""
    files = [WRITERS[suffix](folder / f"shard-{n}.{suffix}", rows[n::count]) for n in range(count)]
    return {"kind": "files", "files": [pinned(file) for file in files]}


def pinned(file: Path) -> dict[str, str]:
    return {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def asked(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "recipe": "sampled_dataset",
        "source": source,
        "columns": {"text": "text", "subset": "meta.redpajama_set_name"},
        "domains": DOMAINS,
        "fill": "other",
        "documents": 1000,
        "shuffle_buffer": 10,
        "samples": 30,
        "seed": 42,
        "proportions": {"math": 8, "web": 8, "chinese": 4, "minority": 4, "other": 6},
        "lengths": {"16": 1, "64": 2},
    } | changes


@pytest.mark.parametrize("suffix", WRITERS)
def test_domains_and_lengths_are_those_asked_for_from_any_format(
    suffix: str, characters: Tokenizer, tmp_path: Path
) -> None:
    samples, shortfall = sampled_dataset.samples_of(asked(shards(tmp_path, documents(ENOUGH), suffix)), characters)
    assert shortfall == {}
    assert Counter(sample.domain for sample in samples) == {
        "math": 8,
        "web": 8,
        "chinese": 4,
        "minority": 4,
        "other": 6,
    }
    assert Counter(sample.length_bucket for sample in samples) == {16: 10, 64: 20}
    assert all(len(sample.text) == sample.length_bucket for sample in samples)
    assert len({sample.id for sample in samples}) == len({sample.text for sample in samples}) == 30
    scripts = {
        sample.domain: {other.script for other in samples if other.domain == sample.domain} for sample in samples
    }
    assert scripts["chinese"] == {"Hani"}
    assert scripts["minority"] <= {"Cyrl", "Arab"}
    assert scripts["math"] == {"Latn"}


def test_files_are_read_without_asking_a_server(
    characters: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *where, **_: asked_for.append(where))
    sampled_dataset.samples_of(asked(shards(tmp_path, documents(ENOUGH))), characters)
    assert asked_for == []


def test_a_document_belongs_to_the_first_domain_whose_rule_it_meets(characters: Tokenizer, tmp_path: Path) -> None:
    """In the order of the study, whatever the names, also after the parameters were kept as JSON with sorted keys."""
    everything = {"name": "a", "subsets": [], "scripts": [], "language": "und"}
    chinese = {"name": "z", "subsets": [], "scripts": ["Hani"], "language": "zh"}
    changes = {"fill": "a", "proportions": {"a": 1, "z": 1}, "samples": 8, "lengths": {"64": 1}}
    source = shards(tmp_path, documents(ENOUGH))
    kept = json.loads(json.dumps(asked(source, domains=[chinese, everything], **changes), sort_keys=True))
    samples, shortfall = sampled_dataset.samples_of(kept, characters)
    assert shortfall == {}
    assert {(sample.domain, sample.script == "Hani") for sample in samples} == {("a", False), ("z", True)}
    _, shortfall = sampled_dataset.samples_of(asked(source, domains=[everything, chinese], **changes), characters)
    assert shortfall == {"z": 4}


def test_the_seed_alone_decides_which_documents(characters: Tokenizer, tmp_path: Path) -> None:
    source = shards(tmp_path, documents(ENOUGH))
    first, _ = sampled_dataset.samples_of(asked(source), characters)
    again, _ = sampled_dataset.samples_of(asked(source), characters)
    other, _ = sampled_dataset.samples_of(asked(source, seed=7), characters)
    assert first == again
    assert first != other


def test_what_a_domain_lacks_is_filled_and_said(characters: Tokenizer, tmp_path: Path) -> None:
    few = ENOUGH | {("RedPajamaC4", "Hani"): 1}
    samples, shortfall = sampled_dataset.samples_of(asked(shards(tmp_path, documents(few))), characters)
    assert shortfall == {"chinese": 3}
    assert Counter(sample.domain for sample in samples) == {
        "math": 8,
        "web": 8,
        "chinese": 1,
        "minority": 4,
        "other": 9,
    }
    assert Counter(sample.length_bucket for sample in samples) == {16: 10, 64: 20}
    assert len({sample.id for sample in samples}) == 30


def test_no_document_is_read_beyond_the_limit(characters: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allow more documents"):
        sampled_dataset.samples_of(asked(shards(tmp_path, documents(ENOUGH)), documents=20), characters)


def test_nothing_to_fill_with_is_an_error(characters: Tokenizer, tmp_path: Path) -> None:
    few = ENOUGH | {("RedPajamaC4", "Hani"): 0, ("RedPajamaCommonCrawl", "Latn"): 7}
    with pytest.raises(UserError, match=r"samples of chinese lack .* other has none left"):
        sampled_dataset.samples_of(asked(shards(tmp_path, documents(few))), characters)


def test_short_documents_serve_short_samples(characters: Tokenizer, tmp_path: Path) -> None:
    rows = documents(ENOUGH, length=20) + documents(ENOUGH, length=100)
    samples, _ = sampled_dataset.samples_of(asked(shards(tmp_path, rows)), characters)
    assert Counter(sample.length_bucket for sample in samples) == {16: 10, 64: 20}


def test_a_row_without_text_serves_nothing(characters: Tokenizer, tmp_path: Path) -> None:
    source = shards(tmp_path, documents(ENOUGH))
    rows = documents(ENOUGH)
    with_nothing = [row for pair in zip(rows, [{**row, "text": None} for row in rows], strict=True) for row in pair]
    (tmp_path / "more").mkdir()
    samples, _ = sampled_dataset.samples_of(asked(shards(tmp_path / "more", with_nothing)), characters)
    without, _ = sampled_dataset.samples_of(asked(source), characters)
    assert Counter(sample.domain for sample in samples) == Counter(sample.domain for sample in without)


def oracle_script(text: str) -> str:
    """By ranges of code points, for the few scripts of this module."""
    ranges = {"Latn": "az", "Cyrl": "\u0400\u04ff", "Arab": "\u0600\u06ff", "Hani": "\u4e00\u9fff"}
    counts = {name: sum(low <= c.lower() <= high for c in text) for name, (low, high) in ranges.items()}
    return max(counts, key=lambda name: counts[name])


def test_a_script_is_that_of_most_letters() -> None:
    for script, letters in LETTERS.items():
        assert script_of(letters) == oracle_script(letters) == script
    assert script_of("x = y + 1; ünïcödé") == "Latn"
    assert script_of("naïve café — “quotes” … ≤ ∑") == "Latn"  # not ASCII, and no minority script
    assert script_of("日本語のテキストです") == "Jpan"
    assert script_of("한국어 漢字") == "Kore"
    assert script_of("123 !?") == "Zyyy"
    assert script_of("") == "Zyyy"


def test_rules_of_scripts() -> None:
    assert meets("Latn", [])
    assert meets("Hani", ["Hani"])
    assert not meets("Latn", ["Hani"])
    assert meets("Cyrl", ["not Latn", "not Hani"])
    assert not meets("Latn", ["not Latn", "not Hani"])


def wrong(change: Callable[[dict[str, Any], Path], Any]) -> Callable[[Path], dict[str, Any]]:
    def build(folder: Path) -> dict[str, Any]:
        parameters = asked(shards(folder, documents(ENOUGH)))
        change(parameters, folder)
        return parameters

    return build


def another_schema(parameters: dict[str, Any], folder: Path) -> None:
    """The last shard calls the text otherwise."""
    rows = [{"content": row["text"], "meta": row["meta"]} for row in documents(ENOUGH)]
    parameters["source"]["files"][2] = pinned(json_lines(folder / "changed.jsonl", rows))


def another_type(parameters: dict[str, Any], folder: Path) -> None:
    """The last shard has numbers where there was text."""
    parameters["source"]["files"][2] = pinned(json_lines(folder / "changed.jsonl", [{"text": 5, "meta": {}}] * 90))


MISTAKES: dict[str, tuple[Callable[[Path], dict[str, Any]], list[str]]] = {
    "a shard of another schema": (wrong(another_schema), ["changed.jsonl", "no column 'text'", "it has content"]),
    "a shard of another type": (wrong(another_type), ["changed.jsonl", "holds int, not text"]),
    "a shard that is not there": (
        wrong(lambda p, _: p["source"]["files"][0].update(path="gone.jsonl")),
        ["gone.jsonl", "no such file"],
    ),
    "a shard with another digest": (
        wrong(lambda p, folder: json_lines(folder / "shard-0.jsonl", [{"text": "x"}])),
        ["shard-0.jsonl", "SHA-256", "pins"],
    ),
    "a shard that is no JSON": (
        wrong(lambda p, f: p["source"]["files"].append(pinned(_garbage(f / "bad.jsonl")))),
        ["bad.jsonl"],
    ),
    "a shard of another format": (
        wrong(lambda p, f: p["source"]["files"].append(pinned(_garbage(f / "bad.csv")))),
        ["bad.csv", "neither Parquet nor JSON lines"],
    ),
    "no such column": (
        wrong(lambda p, _: p["columns"].update(text="body")),
        ["no column 'body'", "it has text, meta"],
    ),
    "no such nested column": (
        wrong(lambda p, _: p["columns"].update(subset="meta.set")),
        ["no column 'meta.set'", "redpajama_set_name"],
    ),
}


def _garbage(file: Path) -> Path:
    file.write_bytes(b"{\x00\xff not json\n" * 50)
    return file


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_data_set_that_cannot_be_read_is_one_line(mistake: str, characters: Tokenizer, tmp_path: Path) -> None:
    build, parts = MISTAKES[mistake]
    parameters = build(tmp_path) | {"samples": 60}
    with pytest.raises(UserError) as refused:
        sampled_dataset.samples_of(parameters, characters)
    assert "\n" not in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


def ready(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "recipe": "ready_dataset",
        "source": source,
        "columns": {"text": "text", "subset": "domain"},
        "samples": 6,
        "maximum_tokens": 32,
        "proportions": {"math": 3, "chinese": 3},
        "language": "und",
    } | changes


READY = [{"text": LETTERS["Hani"] * 4, "domain": "chinese"}, {"text": "a fox", "domain": "math"}] * 4


@pytest.mark.parametrize("suffix", WRITERS)
def test_ready_samples_are_taken_in_their_order_and_cut(suffix: str, characters: Tokenizer, tmp_path: Path) -> None:
    samples, shortfall = ready_dataset.samples_of(ready(shards(tmp_path, READY, suffix, 1)), characters)
    assert shortfall == {}
    assert [sample.domain for sample in samples] == ["chinese", "math"] * 3
    assert samples[0].text == (LETTERS["Hani"] * 4)[:32]
    assert samples[1] == TextSample(
        "math-0001", "math", "und", "Latn", f"shard-0.{suffix} row 1", "unknown", len("a fox"), "a fox"
    )


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"samples": 9}, "has 8 rows"),
        ({"proportions": {"math": 3}}, "'chinese' is not under corpus.proportions"),
        ({"proportions": {"math": 2, "chinese": 4}}, "chinese 3, math 3"),
        ({"columns": {"text": "text", "subset": "topic"}}, "no column 'topic'"),
    ],
)
def test_ready_samples_that_are_not_as_the_study_says(
    changes: dict[str, Any], part: str, characters: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        ready_dataset.samples_of(ready(shards(tmp_path, READY, count=1), **changes), characters)
    assert part in str(refused.value)


def test_an_empty_ready_sample_is_refused(characters: Tokenizer, tmp_path: Path) -> None:
    rows = [READY[0], {"text": "", "domain": "math"}]
    with pytest.raises(UserError, match="row 1: the text is empty"):
        ready_dataset.samples_of(ready(shards(tmp_path, rows, count=1)), characters)


def test_a_tokenizer_that_truncates_cuts_nothing(characters: Tokenizer, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(characters.to_str())
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=100)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    parameters = ready(shards(tmp_path, READY, count=1))
    store = Store(tmp_path / "store")
    manifest = Manifest("tokenizer", "t", "", {}, {"tokenizer.json": store.put(tmp_path / "tokenizer.json")}, {})
    uses = {"tokenizer": ("tokenizer.json",)}
    job = Job("corpus", "corpus", parameters, {"tokenizer": manifest}, uses, store, tmp_path)
    made = stage.compute(job)
    expected = ready_dataset.samples_of(parameters, characters)[0]
    assert made.summary["tokens"] == sum(sample.length_bucket for sample in expected)
