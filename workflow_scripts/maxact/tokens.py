"""From text to token ids, one family at a time: policy of special tokens, splits, and the marker of planted families."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maxact.chat import as_chat
from maxact.corpus.choosing import largest_remainder
from maxact.errors import PolicyError, UserError
from maxact.store.job import Job, Product
from maxact.tokenizers.opened import open_tokenizer

SCHEMA = pa.schema(
    [
        ("sample", pa.int32()),
        ("id", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("script", pa.string()),
        ("length_bucket", pa.int32()),
        ("split", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
    ]
)
VOCABULARY = pa.schema([("token_id", pa.int32()), ("text", pa.string())])


def compute(job: Job) -> Product:
    """tokens.parquet, a row for each sample in the corpus's order, vocabulary.parquet, the text of ids that occur, and the
    tokenizer."""
    asked = job.parameters
    tokenizer_file = job.path("tokenizer", "tokenizer.json")
    rows = pq.read_table(job.path("corpus", "samples.parquet")).to_pylist()
    ids = encode([row["text"] for row in rows], asked["special_tokens"], job.folder("tokenizer"))
    if asked["marker"]:
        place_marker(ids, asked["marker"], open_tokenizer(tokenizer_file).get_vocab_size())
    splits = split([(row["id"], row["domain"]) for row in rows], asked["splits"], asked["seed"])
    kept = ("id", "domain", "language", "script", "length_bucket")
    table = [
        {"sample": number, **{key: row[key] for key in kept}, "split": splits[row["id"]], "token_ids": ids[number]}
        for number, row in enumerate(rows)
    ]
    texts = token_texts(tokenizer_file, {token for sample in ids for token in sample})
    vocabulary = [{"token_id": token, "text": text} for token, text in sorted(texts.items())]
    files = {
        "tokens.parquet": _write(table, SCHEMA, job.scratch / "tokens.parquet"),
        "vocabulary.parquet": _write(vocabulary, VOCABULARY, job.scratch / "vocabulary.parquet"),
        "tokenizer.json": Path(shutil.copyfile(tokenizer_file, job.scratch / "tokenizer.json")),
    }
    summary = {
        "samples": len(table),
        "tokens": sum(map(len, ids)),
        "splits": dict(sorted(Counter(splits.values()).items())),
        "special_tokens": asked["special_tokens"],
        "marker": asked["marker"],
    }
    return Product(files=files, summary=summary)


def _write(rows: list[dict[str, Any]], schema: pa.Schema, file: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")
    return file


def encode(texts: Sequence[str], policy: str, tokenizer: Path) -> list[list[int]]:
    """Token ids of each text under a policy of special tokens: `none`, `bos` or `chat`.

    Args:
        tokenizer: a folder with tokenizer.json, tokenizer_config.json, and chat_template.jinja where it has that.

    Raises:
        UserError: a text has no token.
        PolicyError: the tokenizer cannot do what the policy says.
    """
    file, config = tokenizer / "tokenizer.json", tokenizer / "tokenizer_config.json"
    if policy == "chat":
        return tokenize(as_chat(texts, config, tokenizer / "chat_template.jinja"), file)
    return tokenize(texts, file, first_tokens(policy, file, config))


def first_tokens(policy: str, tokenizer_file: Path, config_file: Path) -> list[int]:
    """The ids that the policy of special tokens puts before every sample.

    Raises:
        PolicyError: the policy is `bos`, and the tokenizer has no BOS token.
    """
    if policy == "none":
        return []
    token = json.loads(config_file.read_text(encoding="utf-8")).get("bos_token")
    name = token["content"] if isinstance(token, dict) else token
    number = open_tokenizer(tokenizer_file).token_to_id(name) if name else None
    if number is None:
        raise PolicyError("tokens.special_tokens: bos, but the tokenizer has no BOS token; use none")
    return [number]


def tokenize(texts: Sequence[str], tokenizer_file: Path, first: Sequence[int] = ()) -> list[list[int]]:
    """Token ids of each text, with the ids `first` before them and no other special tokens.

    Raises:
        UserError: a text has no token.
    """
    tokenizer = open_tokenizer(tokenizer_file)
    ids = [list(encoding.ids) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    for number, sample in enumerate(ids):
        if not sample:
            raise UserError(f"sample {number} of the text has no token; remove it")
    return [[*first, *sample] for sample in ids]


def place_marker(ids: list[list[int]], marker: Mapping[str, int], vocabulary: int) -> None:
    """Put the marker's id at its place, where it then stands alone in the whole corpus.

    Raises:
        UserError: the place does not exist, the id is not in the vocabulary, or it occurs in the corpus.
    """
    token, number, position = marker["token_id"], marker["sample"], marker["position"]
    if token >= vocabulary:
        raise UserError(f"marker.token_id: {token} is not in the vocabulary of {vocabulary}")
    if number >= len(ids) or position >= len(ids[number]):
        raise UserError(f"marker: sample {number} has no position {position}; choose a place in the corpus")
    if any(token in sample for sample in ids):
        raise UserError(f"marker.token_id: {token} occurs in the corpus; choose an id that does not")
    ids[number][position] = token


def split(samples: Sequence[tuple[str, str]], sizes: Mapping[str, int], seed: int) -> dict[str, str]:
    """Split name by sample id: `calibration` and `evaluation` of the sizes asked for, `rest` what remains.

    Stratified: each split has its share of every domain, by largest remainder, so that its size is exact. Within a domain
    the order follows from the seed and the sample's id.

    Args:
        samples: (id, domain) pairs.

    Raises:
        UserError: the splits ask for more samples than there are.
    """
    domains: dict[str, list[str]] = defaultdict(list)
    for name, domain in samples:
        domains[domain].append(name)
    for names in domains.values():
        names.sort(key=lambda name: hashlib.sha256(f"{seed}\x00{name}".encode()).hexdigest())
    if sum(sizes.values()) > len(samples):
        raise UserError(f"tokens.splits: {sum(sizes.values())} samples asked for, the corpus has {len(samples)}")
    found = {}
    for name in ("calibration", "evaluation"):
        # In proportion to what is left, which is in proportion to the corpus but for rounding, and never too much.
        left = {domain: len(names) for domain, names in domains.items() if names}
        for domain, count in largest_remainder(sizes[name], left).items():
            found.update(dict.fromkeys(domains[domain][:count], name))
            del domains[domain][:count]
    found.update({name: "rest" for names in domains.values() for name in names})
    return found


def token_texts(tokenizer_file: Path, ids: Iterable[int]) -> dict[int, str]:
    """Text by token id. A token that is only part of a character is shown as the tokenizer's own piece of bytes."""
    tokenizer = open_tokenizer(tokenizer_file)
    texts = {}
    for token in ids:
        text = tokenizer.decode([token], skip_special_tokens=False)
        piece = tokenizer.id_to_token(token)
        texts[token] = (piece or "") if "\ufffd" in text or not text else text
    return texts
