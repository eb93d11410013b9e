"""What the released code shows and no result file can: told with file, lines and commit, and with numbers where there are some.

Each is about a part of the study (statistics, quantization, subsets) and is told only where the files have that part.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from maxact.published.audit.finding import Finding, Severity, code, table
from maxact.published.audit.quantization import longer_evaluation
from maxact.published.audit.subsets import spread
from maxact.published.records import Published

Reading = Callable[[Published], Finding | None]

BUILDER = ("build_eval_diverse.py", "f8db539")
"""The script that built the samples, and a commit that has it; commit 5ad6849 deleted it."""

FIRST = 850
"""Samples of the first domain in the file."""


def consecutive_lines(published: Published) -> Finding | None:
    """Calibration and evaluation are the first lines of a file in order of domains."""
    if not published.quant:
        return None
    runs = published.quant
    calibration, evaluation = max(run.calibration_samples for run in runs), max(run.evaluation_samples for run in runs)
    domains = "nothing but mathematics" if calibration + evaluation <= FIRST else "mathematics, then the next domain"
    return Finding(
        "consecutive_lines",
        "Calibration and evaluation samples are of one domain",
        Severity.CONCLUSION,
        f"The file of samples is written domain by domain, {FIRST} of mathematics (arXiv) first, and kept in that order. The "
        f"first {calibration} lines calibrate and the next {evaluation} are evaluated: {domains}. M, with which the errors are "
        "compared, is of all domains. The rows have the mean length of the evaluated samples beside that of all.",
        f"{code(BUILDER[0], 'lines 35 to 43 and 232 to 241', BUILDER[1])}; "
        f"{code('quant_sanity_check.py', 'lines 101 to 111 and 398 to 399')}",
        table(longer_evaluation(published)),
    )


def any_script(published: Published) -> Finding | None:
    """What counts as a minority script, and as Chinese."""
    return _of_samples(
        published,
        "any_script",
        "Minority scripts are any text that is not ASCII",
        Severity.CONCLUSION,
        "A text of Common Crawl is of a minority script if 30 % of its non-ASCII characters (five or more of the first 400 "
        "tokens) are, and every branch of the test counts one, the last for whatever is left: accented Latin letters, "
        "typographic quotation marks, dashes, emoji. So five such characters put an English text there. Before, it is "
        "Chinese if more than 5 % of its non-ASCII characters are Han or CJK or full-width punctuation, however few they "
        "are, Japanese included.",
        code(BUILDER[0], "lines 71 to 123 and 164 to 173", BUILDER[1]),
    )


def no_special_tokens(published: Published) -> Finding | None:
    """No BOS, and the names of special tokens as text."""
    return _of_samples(
        published,
        "no_special_tokens",
        "No beginning-of-sequence token, and special tokens as text",
        Severity.CONCLUSION,
        "Texts are encoded with add_special_tokens=False, so that no sample begins with BOS: families that were trained "
        "with one (Gemma) are measured on input that they do not get in use. Tuned checkpoints read the same plain text, "
        "in no chat template. Texts are decoded from LLaMA-2 tokens without leaving out special ones, so that any <s> or "
        "</s> among those tokens is read by the other tokenizers as letters.",
        code("convert_dataset.py", "lines 91 to 92"),
    )


def not_what_is_added(published: Published) -> Finding | None:
    """Outputs of modules where a norm follows before the residual sum."""
    kinds = sorted(
        {one.model_type for one in published.checkpoints if one.model_type in ("gemma2", "gemma3", "gemma3_text")}
    )
    if not kinds:
        return None
    who = [one.name for one in published.checkpoints if one.model_type in kinds]
    return Finding(
        "not_what_is_added",
        "Attention and MLP outputs are not what is added in every family",
        Severity.NUMBER,
        f"The hooks take the output of the modules self_attn and mlp. In {', '.join(kinds)} a norm stands between them and "
        "the residual sum, so that these maxima are of another tensor than in families without it; a heatmap by component "
        "puts the two side by side.",
        code("analyze_model.py", "lines 495 to 506 and 538 to 544"),
        pd.DataFrame({"checkpoint": who}),
    )


def two_kinds_of_attention(published: Published) -> Finding | None:
    """Linear and full attention under one name."""
    who = [one.name for one in published.checkpoints if one.model_type.startswith("qwen3_5")]
    if not who:
        return None
    return Finding(
        "two_kinds_of_attention",
        "Linear and full attention under one name",
        Severity.COSMETIC,
        "Where a layer has no self_attn, its linear_attn is recorded as attn_output. In these checkpoints the two "
        "alternate along the layers, so that a curve of attn_output by layer is of two kinds of module.",
        code("analyze_model.py", "lines 495 to 506"),
        pd.DataFrame({"checkpoint": who}),
    )


def dequantized(published: Published) -> Finding | None:
    """Weights that are not run as they were released."""
    who = [one.name for one in published.checkpoints if one.model_type == "gpt_oss"]
    if not who:
        return None
    return Finding(
        "dequantized",
        "Weights dequantized from MXFP4",
        Severity.NUMBER,
        "The script tells transformers that there is no device for MXFP4, so that the released MXFP4 weights were "
        "dequantized to bfloat16 when they were loaded, as the log says. M is of that model; the result files do not say "
        "so.",
        f"{code('analyze_model.py', 'lines 28 to 34')}; {code('results/gpt_oss/logs/gpt-oss-20b.log', 'line 2')}",
        pd.DataFrame({"checkpoint": who}),
    )


def without_replacement(published: Published) -> Finding | None:
    """Subsets are no bootstrap."""
    if not published.bootstrap:
        return None
    samples = {checkpoint.name: checkpoint.samples for checkpoint in published.checkpoints}
    larger = sum(run.size > samples.get(run.name, run.size) for run in published.bootstrap)
    needs = (
        f"{larger} subsets are larger than the whole."
        if larger
        else "No subset is larger than the whole, so none needs it."
    )
    return Finding(
        "without_replacement",
        "The bootstrap draws without replacement",
        Severity.NUMBER,
        "A subset is drawn without replacement from each category, so it is a subsample and no bootstrap sample: its "
        "maximum is M or less, never more but by rounding, and its scatter is not the sampling error of M. A branch draws "
        "with replacement where a category has fewer samples than are asked of it, and the script then stops, as it writes "
        f"each line once. {needs}",
        f"{code('make_bootstrap_datasets.py', 'lines 44 to 58')}; the branch: lines 51 to 54 and 61 to 69",
        pd.DataFrame(),
    )


def range_for_deviation(published: Published) -> Finding | None:
    """A column that is called a coefficient of variation."""
    rows = spread(published)
    if not rows:
        return None
    most = max(rows, key=lambda row: row["range_by_mean"])
    deviation = most["deviation_by_mean"]
    return Finding(
        "range_for_deviation",
        "A range called a coefficient of variation",
        Severity.NUMBER,
        "The table of bootstrap stability has a column CV% and says that the coefficient of variation is at most 10.1 %. "
        "Its numbers are the largest less the smallest M, by the mean (range_by_mean, here at most "
        f"{most['range_by_mean']:.1%}). The standard deviation by the mean of the same runs is "
        + (f"{deviation:.1%}." if deviation is not None else "not defined."),
        code("results/supplementary_experiments/findings_and_conclusions.txt", "lines 20 to 41"),
        table(rows),
    )


def lower_median(published: Published) -> Finding | None:
    """The median of an even number of values."""
    even = [checkpoint.name for checkpoint in published.checkpoints if checkpoint.hidden_size % 2 == 0]
    if not even:
        return None
    return Finding(
        "lower_median",
        "The lower of two medians",
        Severity.COSMETIC,
        "The median |x| of a token is torch.median, which of an even number of values is the lower of the two in the "
        f"middle, not their mean. The hidden size is even in {len(even)} of {len(published.checkpoints)} checkpoints: their "
        "ratios of the massive-activation test are as large as with the mean of the two, or larger.",
        code("analyze_model.py", "lines 184 to 188"),
        pd.DataFrame(),
    )


def short_samples(published: Published) -> Finding | None:
    """How long a sample can be."""
    return _of_samples(
        published,
        "short_samples",
        "No long samples",
        Severity.COSMETIC,
        "When the samples were chosen each was cut to one of five lengths, the longest 4,096 tokens of the LLaMA-2 tokenizer. "
        "No longer text was measured, whatever max_seq_len allows.",
        code(BUILDER[0], "lines 50 to 56, 126 to 134 and 197", BUILDER[1]),
    )


def _of_samples(
    published: Published, name: str, title: str, severity: Severity, what: str, source: str
) -> Finding | None:
    return Finding(name, title, severity, what, source, pd.DataFrame()) if published.checkpoints else None


READINGS: tuple[Reading, ...] = (
    consecutive_lines,
    any_script,
    no_special_tokens,
    not_what_is_added,
    two_kinds_of_attention,
    dequantized,
    without_replacement,
    range_for_deviation,
    lower_median,
    short_samples,
)
