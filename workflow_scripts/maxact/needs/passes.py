"""What a job that runs a model passes through it: tokens, how many at once, and what they take.

Each constant says where it comes from; a guess is called one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from maxact.quantize.formats import FORMATS
from maxact.quantize.ways import tries, ways
from maxact.study import Checkpoint, Study
from maxact.study.shape import Shape

LONGER = 1.3
"""Tokens of a family's tokenizer for one of the corpus's; the pocket study has 1.31 at most."""
SCAN = {"cuda": 96, "cpu": 8}
"""Bytes for each element of the tensor that is looked at. GPU: guess, counted from `measure/deferred.py`. CPU: guess."""
EAGER = ("gemma2", "gpt_oss")
"""Model types that transformers runs with eager attention whatever the study says."""
SCORE = 10
"""Bytes of eager attention for each head and pair of tokens: scores, float32 softmax, and its result."""
RECONSTRUCTING = {"evaluate": 2.3, "perplexity": 5.0}
"""Times the scan of a measurement is what one reconstruction of every element takes: SmolLM2 of the pocket study had 50 for the
22 of `evaluate` on busy cores; in `perplexity` torch takes 10 ns an element at most on CPU."""
SORTING = 10
"""Reconstructions in whose time a quantile is sorted for: 46 ns an element on CPU."""
RECONSTRUCTED = 48
"""Bytes for each element of a tensor whose scales `perplexity` searches for, counted from `quantize/shared_scales.py`."""


def mean_length(study: Study) -> float:
    """Tokens of a sample of the corpus."""
    lengths: dict[int, int] = getattr(study.corpus, "lengths", {study.corpus.longest: 1})
    return sum(length * weight for length, weight in lengths.items()) / sum(lengths.values())


def corpus_tokens(study: Study) -> float:
    """Tokens of the corpus, by its own tokenizer."""
    return study.corpus.samples * mean_length(study)


def _quantized_tokens(study: Study) -> float:
    """Each sample is passed once without quantization, and once with each quantizer."""
    if study.perplexity is None:
        return 0.0
    samples = study.perplexity.samples or study.tokens.splits.evaluation
    return samples * mean_length(study) * (1 + len(study.perplexity.quantizers))


def _evaluated_tokens(study: Study) -> float:
    return study.tokens.splits.evaluation * mean_length(study)


def _effort(format: str, policy: str) -> int:
    """What a dynamic scale takes, in reconstructions."""
    return tries(FORMATS[format], policy) + (SORTING if policy.startswith("quantile") else 0)


def _reads(study: Study, stage: str) -> list[Read]:
    """What a stage looks at in its pass, and how often."""
    if stage == "evaluate" and (asked := study.evaluate):
        every = ways(asked.formats, asked.granularities, asked.policies)
        efforts = sum(_effort(way.format.name, way.policy) for way in every)
        return [(study.measure.components, RECONSTRUCTING[stage] * efforts)]
    if stage == "perplexity" and study.perplexity:
        reads: list[Read] = []
        quantizers = study.perplexity.asked()
        for item in quantizers:
            # What a search adds; one reconstruction is little beside the pass. Inside routed experts nothing is replaced.
            added = 0 if item["granularity"] == "tensor" else _effort(item["format"], item["policy"]) - 1
            components = [name for name in item["components"] if name != "expert_down_input"]
            # Tokens count once for each quantizer, and once without.
            reads += [(components, RECONSTRUCTING[stage] * added / (1 + len(quantizers)))] if added else []
        return reads
    return [(study.measure.components, 1.0)] if stage in WATCHING else []


def _run_again(study: Study) -> int:
    """Times that SmoothQuant runs its tokens: twice, then thrice for each format with and without s, behind norms alone."""
    asked = study.evaluate and study.evaluate.smooth
    return 2 + 3 * len(asked.formats) * (1 + len(asked.alphas)) if asked else 0


def _smoothed_tokens(study: Study) -> float:
    """Tokens of which the inputs of linear layers are held."""
    asked = study.evaluate and study.evaluate.smooth
    return (asked.samples or study.tokens.splits.evaluation) * mean_length(study) if asked else 0.0


def _varied_tokens(study: Study) -> float:
    return study.sensitivity.samples * mean_length(study) if study.sensitivity else 0.0


def _checked_tokens(study: Study) -> float:
    asked = study.paper_check
    return (asked.calibration + asked.evaluation) * mean_length(study) if asked else 0.0


TOKENS: dict[str, Callable[[Study], float]] = {
    "loading_check": lambda study: float(study.loading_check.tokens),
    "measure": corpus_tokens,
    "shard": corpus_tokens,
    "evaluate": _evaluated_tokens,
    "variant": _varied_tokens,
    "perplexity": _quantized_tokens,
    "paper_check": _checked_tokens,
}
"""Tokens of the corpus that a job passes through its model, for every stage that runs one."""

WATCHING = ("measure", "shard", "evaluate", "variant")
"""Those with the study's components watched."""

PROBED = 3
"""Samples of a measurement's probe, at most: all that is left to the job that joins shards."""

Read = tuple[Collection[str], float]
"""Components, and how often a token's elements of them are read."""

Change = tuple[str, Any]
"""The setting of a variant that is not the study's own, and its value."""


@dataclass(frozen=True)
class Pass:
    """How a job runs its model.

    Attributes:
        device: cpu or cuda.
        dtype: of the weights.
        threads: of the CPU; 1 on a GPU.
        tokens: in all.
        longest: tokens of the longest sample.
        batch: tokens at once.
        eager: whether attention holds its scores.
        watched: the components that are looked at.
        reads: what is looked at or quantized, and how often.
        kept: tokens of which the inputs of linear layers are held.
        again: times that these are multiplied with weights afterwards.
    """

    device: str
    dtype: str
    threads: int
    tokens: float
    longest: float
    batch: float
    eager: bool
    watched: Collection[str]
    reads: Sequence[Read]
    kept: float
    again: int

    @staticmethod
    def of(study: Study, stage: str, checkpoint: Checkpoint, change: Change | None) -> Pass:
        settings: dict[str, Any] = {**study.measure.model_dump(), **dict([change] if change else [])}
        longest = LONGER * study.corpus.longest
        model_type = study.families[checkpoint.family].model_type
        shards = checkpoint.shards if stage == "shard" else 1
        joining = stage == "measure" and checkpoint.shards > 1
        return Pass(
            device=study.measure.device,
            dtype=settings["dtype"],
            threads=1 if study.measure.device == "cuda" else study.measure.threads,
            tokens=PROBED * longest if joining else LONGER * TOKENS[stage](study) / shards,
            longest=longest,
            batch=max(longest, settings["batch_tokens"] or 0),
            eager=settings["attention"] == "eager" or model_type in EAGER,
            watched=study.measure.components if stage in WATCHING else (),
            reads=_reads(study, stage),
            kept=LONGER * _smoothed_tokens(study) if stage == "evaluate" else 0.0,
            again=_run_again(study),
        )


def widths(shape: Shape, components: Collection[str]) -> list[int]:
    """Elements that a token has in one layer at each of the components; those that exist once are left out."""
    heads, routed = shape.heads * shape.head_size, shape.experts_per_token * shape.expert_size
    cached = shape.key_value_heads * shape.head_size
    own = {"query": heads, "attention_context": heads, "key": cached, "value": cached, "router_logits": shape.experts}
    own |= {"gate": shape.intermediate_size, "down_input": shape.intermediate_size}
    own |= {"expert_gate": routed, "expert_down_input": routed, "embedding": 0, "final_norm": 0}
    return [width for name in components if (width := own.get(name, shape.hidden_size))]


def pass_bytes(shape: Shape, run: Pass) -> float:
    """What is held at most beside weights and counters: of one pass, or of what SmoothQuant has behind one norm."""
    looked_at = max(widths(shape, run.watched), default=0) * SCAN[run.device]
    if not run.watched:
        looked_at = RECONSTRUCTED * max((width for names, _ in run.reads for width in widths(shape, names)), default=0)
    inner = max(shape.intermediate_size, shape.experts_per_token * shape.expert_size)
    activations = (12 * shape.hidden_size + 4 * inner) * 2
    scores = shape.heads * run.longest * SCORE if run.eager else 0
    # Once all is passed, in float32: weights behind one norm, s times these, what quantization makes of them, its error; and x
    # and x / s of every token that is kept.
    behind = 32.0 * shape.intermediate_size * shape.hidden_size + 8 * run.kept * shape.hidden_size if run.kept else 0.0
    return max(run.batch * (looked_at + activations + scores), behind)


def active(shape: Shape) -> float:
    """Parameters that a token is multiplied with."""
    if not shape.experts:
        return float(shape.parameters)
    routed = min(shape.layers * shape.experts * 3 * shape.hidden_size * shape.expert_size, shape.parameters)
    return shape.parameters - routed * (1 - shape.experts_per_token / shape.experts)
