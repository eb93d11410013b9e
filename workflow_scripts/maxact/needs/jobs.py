"""What one job needs: GPUs, memory, minutes and disk, from the shape of its checkpoint and the size of its corpus.

For a job that runs a model, with W = 2 bytes for each parameter (4 in float32), T tokens of the longest pass, and S sites (the
study's components in every layer, and two):

    counters     S x 3 splits x 65,536 codes x 8 bytes: the histograms, kept where the statistics are computed
    pass         T x (channels of the widest site x SCAN + activations of a block x 2) + scores of eager attention
    GPUs         (W + counters) / (USABLE x memory of a device - pass), rounded up
    GPU memory   ((W + counters) / GPUs + pass) / USABLE, of each
    memory       (BASE + W + counters, and the pass on CPU) x MEMORY_MARGIN + SNAKEMAKE
    time         START + W / READ + tokens x (2 x active parameters / FLOPS + elements of all sites / SCANNED)
    minutes      time x TIME_MARGIN, at least LEAST_MINUTES
    disk         S x (SITE_DISK + SAMPLE_DISK x samples)

W counts in memory on a GPU as well: files are mapped while weights are read, and SLURM counts that. A routed expert is active
for its share of tokens. A study may say better (`resources` of a checkpoint). No number of this module is in a recipe.

Each constant says where it comes from. A guess is called one: no job of this project has run on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from maxact.needs.passes import LONGER, TOKENS, Change, Pass, active, corpus_tokens, pass_bytes, widths
from maxact.study import Checkpoint, Hub, Planted, Study
from maxact.study.shape import Shape

GB = 1e9

COUNTERS = 3 * 65536 * 8
"""Bytes of a site (`measure/state.py`)."""
USABLE = 0.92
"""Of a device's memory; CUDA and fragments have the rest: guess."""
BASE = {"cuda": 4.0, "cpu": 1.3}
"""GB of a process before weights. CPU: the pocket study has 1.26 at most. GPU: guess."""
MEMORY_MARGIN = 1.5
SNAKEMAKE = 0.7
"""GB. A job on a node has two Snakemakes beside it, of 0.3 GB each, seen with SLURM 22.05."""

START = {"cuda": 120.0, "cpu": 60.0}
"""Seconds until the first token: guess; imports take 3 s on two cores."""
READ = 0.3 * GB
"""Bytes a second, digest included: guess."""
FLOPS = {"cuda": 1e14, "cpu": 1e11}
"""Of one device whatever their number, as layers take turns: guess. CPU: of a thread, half of what two cores had in the
pocket study."""
SCANNED = {"cuda": 1e9, "cpu": 5e8}
"""Elements a second of all statistics. GPU: guess, for what sorting takes. CPU: of a thread, half of what two cores had."""
TIME_MARGIN = 2.0
LEAST_MINUTES = 10
DOWNLOAD = 0.05 * GB
"""Bytes a second from the hub: guess."""

SITE_DISK, SAMPLE_DISK = 20_000, 20
"""Bytes of a site, and of each of its samples: 82 MB for 706 sites and 5,000 samples (benchmarks/measurement_size.py)."""
SITE_MINUTES = 0.001
"""Of quantization: SmolLM2 has 0.0005 on two cores, with eight formats and four policies."""
DEQUANTIZING = 5
"""Times its bfloat16 weights are what reading GGUF takes: gemma-3-270m has 4.6."""

OTHERS = {"figures": (1.0, 1.0), "sensitivity": (1.0, 2.0), "tokenizer": (1.0, 1.0), "report": (1.0, 2.0)}
"""GB and expected minutes of stages that are small whatever the study; the pocket study has 0.6 GB and 4 s at most."""


@dataclass(frozen=True)
class Needs:
    """What a job asks for.

    Attributes:
        gpus: devices; 0 on CPU.
        gpu_memory_gb: of each, as estimated.
        memory_gb, disk_gb: GB of 10^9 bytes.
        minutes: at most, with margin.
        expected_minutes: without; 0 where nothing is known.
        known: whether the checkpoint's shape is; if not, all is what the study says of what is unknown.
    """

    gpus: int = 0
    gpu_memory_gb: float = 0.0
    memory_gb: float = 1.0
    minutes: int = LEAST_MINUTES
    disk_gb: float = 0.0
    expected_minutes: float = 0.0
    known: bool = True

    def resources(self, attempt: int = 1) -> dict[str, int]:
        """As Snakemake has them. A second attempt has half as much memory more, and twice the time; and so on."""
        return {
            "gpu": self.gpus,
            "mem_mb": math.ceil(self.memory_gb * 1000 * (1 + (attempt - 1) / 2)),
            "runtime": self.minutes * attempt,
            "disk_mb": math.ceil(self.disk_gb * 1000),
        }


def needs_of(
    study: Study,
    stage: str,
    checkpoint: Checkpoint | None = None,
    shape: Shape | None = None,
    change: Change | None = None,
) -> Needs:
    """What a job of that stage needs.

    Args:
        checkpoint: the one that it opens, makes or reads; None of stages that have none.
        shape: of that checkpoint; None where it is not known.
        change: what a variant has other than the study.
    """
    if checkpoint is None:
        return _of_study(study, stage)
    given, unknown = checkpoint.resources, study.resources.unknown
    if stage == "checkpoint":
        nothing = Needs(0, 0.0, unknown.memory_gb, unknown.minutes, unknown.disk_gb, known=False)
        found = _weights(checkpoint, shape) or nothing
        return replace(found, disk_gb=given.disk_gb or found.disk_gb)
    if stage not in TOKENS:
        counters = _counters(study, shape) if shape else 2.0
        return _asked(0.5 + counters, 1 + counters / (COUNTERS / GB) * SITE_MINUTES, known=shape is not None)
    if shape is not None:
        found = _running(study, checkpoint, shape, Pass.of(study, stage, checkpoint, change))
    else:
        gpus = 0 if study.measure.device == "cpu" else given.gpus or unknown.gpus
        found = Needs(gpus, 0.0, unknown.memory_gb, unknown.minutes, 1.0, known=False)
    return replace(found, memory_gb=given.memory_gb or found.memory_gb, minutes=given.minutes or found.minutes)


def _running(study: Study, checkpoint: Checkpoint, shape: Shape, run: Pass) -> Needs:
    """Of a job that passes tokens through a model."""
    weights = shape.parameters * (4 if run.dtype == "float32" else 2) / GB
    counters = _counters(study, shape) if run.watched else 0.0
    once = pass_bytes(shape, run) / GB
    seconds = START[run.device] + weights * GB / READ
    seconds += (run.tokens + run.kept * run.again) * 2 * active(shape) / (FLOPS[run.device] * run.threads)
    scanned = run.tokens * shape.layers * sum(times * sum(widths(shape, names)) for names, times in run.reads)
    seconds += scanned / (SCANNED[run.device] * run.threads)
    sites = _sites(study, shape) if run.watched else 0
    disk = sites * (SITE_DISK + SAMPLE_DISK * study.corpus.samples) / GB
    held = BASE[run.device] + weights + counters + (once if run.device == "cpu" else 0.0)
    held += 2 * shape.layers * shape.hidden_size * 2 * run.kept / GB  # of two norms, 16 bits
    found = _asked(held, seconds / 60, disk)
    if run.device == "cpu":
        return found
    given = checkpoint.resources
    room = (given.gpu_memory_gb or study.resources.gpu_memory_gb) * USABLE
    gpus = given.gpus or max(1, math.ceil((weights + counters) / (room - once if once < room else room)))
    return replace(found, gpus=gpus, gpu_memory_gb=((weights + counters) / gpus + once) / USABLE)


def _weights(checkpoint: Checkpoint, shape: Shape | None) -> Needs | None:
    """Of the job that puts weights into the store; None where their size is not known."""
    source = checkpoint.source
    if isinstance(source, Planted):
        return _asked(0.6, 0.5, 0.1)
    if isinstance(source, Hub) and source.pin is not None:
        size = sum(file.size for file in source.pin.files.values())
        return _asked(1.0, (size / DOWNLOAD + size / READ) / 60, size / GB)
    if shape is None:
        return None
    weights = 2 * shape.parameters / GB
    times = DEQUANTIZING if source.kind.startswith("gguf") else 0
    return _asked(1.0 + times * weights, (60 + 20 * weights * GB / READ) / 60, 2 * weights)


def _of_study(study: Study, stage: str) -> Needs:
    """Of the stages whose jobs are of the whole study, or of a family."""
    tokens, samples, checkpoints = LONGER * corpus_tokens(study), study.corpus.samples, len(study.checkpoints)
    if stage == "corpus":
        # Guesses: 10,000 documents wait in the buffer, and 1,000 come a second.
        read = getattr(study.corpus, "documents", 0)
        return _asked(1.0 + 8.0 * (study.corpus.recipe != "packaged_text"), 5 + samples / 200 + read / 60_000, 1.0)
    if stage == "tokens":
        return _asked(1.0 + 100 * tokens / GB, 1 + tokens / 6e6, 10 * tokens / GB)
    if stage == "results":
        return _asked(1.0 + checkpoints * (0.02 + samples * 2e-5), 1 + checkpoints * (0.1 + samples / 20_000), 1.0)
    return _asked(*OTHERS.get(stage, (2.0, 5.0)), 0.1)


def _asked(memory_gb: float, minutes: float, disk_gb: float = 0.0, known: bool = True) -> Needs:
    limit = max(LEAST_MINUTES, math.ceil(minutes * TIME_MARGIN))
    return Needs(
        memory_gb=memory_gb * MEMORY_MARGIN + SNAKEMAKE,
        minutes=limit,
        disk_gb=disk_gb,
        expected_minutes=minutes,
        known=known,
    )


def _sites(study: Study, shape: Shape) -> int:
    return len(widths(shape, study.measure.components)) * shape.layers + 2


def _counters(study: Study, shape: Shape) -> float:
    return _sites(study, shape) * COUNTERS / GB
