"""Which sites and tokens the statistics are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from maxact.published.audit.finding import Finding, M_of, Severity, code, kind_of, layer_of, names, table
from maxact.published.checks import peak
from maxact.published.names import carries_M
from maxact.published.records import Published, tokens_of

UNREACHED = 4
"""A limit of length that is so many times the mean length, or more, is told."""


def counted_twice(published: Published) -> Finding | None:
    """Sites that have seen every token several times."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        tokens = tokens_of(checkpoint)
        for site, values in checkpoint.sites.items() if tokens else ():
            times = values.get("sun_n_tokens", 0.0) / (tokens or 1)
            if times >= 2 and times == int(times):
                row = {"checkpoint": checkpoint.name, "site": site, "tokens": int(values["sun_n_tokens"])}
                rows.append({**row, "tokens_elsewhere": tokens, "times": int(times)})
    if not rows:
        return None
    beyond = sorted(
        {checkpoint.name for checkpoint in published.checkpoints if _beyond(checkpoint.sites, checkpoint.layers)}
    )
    both = [name for name in sorted({row["checkpoint"] for row in rows}) if name in beyond]
    why = (
        f" Of {names(both)} there is also a layer beyond the decoder; the files do not tell whether it is why."
        if both
        else ""
    )
    return Finding(
        "counted_twice",
        "A component counted twice",
        Severity.NUMBER,
        f"{len(rows)} sites have a multiple of the tokens of the other sites of their checkpoint. The hook adds up every run "
        f"of a module, so that means, quantiles and counts of tokens are of all runs together.{why}",
        f"sun_n_tokens by site; {code('analyze_model.py', 'lines 477 to 481')}",
        table(rows),
    )


def layers_beyond(published: Published) -> Finding | None:
    """Sites of layers that the decoder has not, by its own number of layers."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        M = M_of(checkpoint)
        for site in _beyond(checkpoint.sites, checkpoint.layers):
            largest = peak(checkpoint.sites[site])
            row = {"checkpoint": checkpoint.name, "layers": checkpoint.layers, "site": site, "largest": largest, "M": M}
            rows.append({**row, "in_M": "yes" if carries_M(site) else "no"})
    if not rows:
        return None
    decides = sorted({row["checkpoint"] for row in rows if row["in_M"] == "yes" and row["largest"] == row["M"]})
    effect = f"one of them is M of {names(decides)}" if decides else "none of them is M here"
    return Finding(
        "layers_beyond",
        "A layer beyond the decoder",
        Severity.CONCLUSION if decides else Severity.NUMBER,
        f"{names(sorted({row['checkpoint'] for row in rows}))} have sites of a layer that num_hidden_layers does not count. "
        f"The authors' M ranges over them as over the decoder; {effect}. Our tables, and so our M, leave them out.",
        f"num_hidden_layers against names of sites; {code('analyze_model.py', 'lines 484 to 493')}",
        table(rows),
    )


def _beyond(sites: Iterable[str], layers: int) -> list[str]:
    return [site for site in sites if (layer_of(site) or 0) >= layers]


def gates_missing(published: Published) -> Finding | None:
    """Layers whose gate projection was not measured."""
    rows: list[dict[str, Any]] = []
    for checkpoint in published.checkpoints:
        kinds = defaultdict(set)
        for site in checkpoint.sites:
            kinds[kind_of(site)].add(layer_of(site))
        without = kinds["hidden"] - kinds["mlp_gate"]
        if without:
            row = {"checkpoint": checkpoint.name, "model_type": checkpoint.model_type, "layers": len(kinds["hidden"])}
            row |= {"layers_with_a_gate": len(kinds["mlp_gate"])}
            with_router = without & (kinds["moe_gate"] | kinds["router_logits"])
            rows.append({**row, "router_instead": len(with_router), "neither": len(without - with_router)})
    if not rows:
        return None
    routed = [row["checkpoint"] for row in rows if row["router_instead"]]
    lacking = [row["checkpoint"] for row in rows if row["neither"]]
    said = [f"Of {len(rows)} of {len(published.checkpoints)} checkpoints layers have no mlp_gate."]
    if routed:
        said.append(
            f"Of {names(routed)} those layers have a router: of a block of experts the hook takes the output and the router, "
            "and neither the routed experts nor a shared one, so that gates of these cannot be compared with those of "
            "dense layers."
        )
    if lacking:
        said.append(f"Of {names(lacking)} layers have neither a gate nor a router; the files do not tell why.")
    said.append("The paper counts gates among what is measured in all.")
    return Finding(
        "gates_missing",
        "Gates that were not measured",
        Severity.CONCLUSION if routed else Severity.NUMBER,
        " ".join(said),
        f"names of sites; {code('analyze_model.py', 'lines 507 to 552')}",
        table(rows),
    )


def text_alone(published: Published) -> Finding | None:
    """Vision-language checkpoints that saw as many tokens as checkpoints without vision."""
    seen = defaultdict(list)
    for checkpoint in published.checkpoints:
        if (tokens := tokens_of(checkpoint)) is not None:
            seen[tokens, checkpoint.samples].append(checkpoint)
    rows: list[dict[str, Any]] = []
    for (tokens, samples), found in seen.items():
        text = [checkpoint.name for checkpoint in found if not _sees(checkpoint.model_type)]
        for checkpoint in found:
            if _sees(checkpoint.model_type) and text:
                row = {
                    "checkpoint": checkpoint.name,
                    "model_type": checkpoint.model_type,
                    "samples": samples,
                    "tokens": tokens,
                }
                rows.append({**row, "same_tokens_as": names(sorted(text), 3)})
    if not rows:
        return None
    return Finding(
        "text_alone",
        "Vision-language checkpoints measured on text alone",
        Severity.CONCLUSION,
        f"{names(sorted(row['checkpoint'] for row in rows))} saw exactly as many tokens in as many samples as checkpoints "
        "without vision, so no image was among them. What is said of vision-language models is of their decoder reading "
        "text.",
        f"sun_n_tokens and num_samples; {code('convert_dataset.py', 'lines 53 to 57 and 91 to 92')}",
        table(sorted(rows, key=lambda row: str(row["checkpoint"]))),
    )


def _sees(model_type: str) -> bool:
    return "vl" in model_type.split("_")


def other_tokens(published: Published) -> Finding | None:
    """Checkpoints of one data file that saw other numbers of samples or tokens than most of that file."""
    groups = defaultdict(list)
    for checkpoint in published.checkpoints:
        groups[checkpoint.data_path].append((checkpoint.samples, tokens_of(checkpoint), checkpoint.name))
    rows: list[dict[str, Any]] = []
    for path, found in sorted(groups.items()):
        pairs = sorted({one[:2] for one in found}, key=lambda pair: (pair[1] is None, pair[0], pair[1] or 0))
        usual = max(pairs, key=lambda pair: sum(one[:2] == pair for one in found))  # of a tie the first
        for samples, tokens, name in sorted(found, key=lambda one: one[2]):
            if (samples, tokens) != usual:
                row = {"checkpoint": name, "data": path.rpartition("/")[2], "samples": samples, "tokens": tokens}
                rows.append({**row, "samples_of_others": usual[0], "tokens_of_others": usual[1]})
    if not rows:
        return None
    return Finding(
        "other_tokens",
        "Other tokens from the same file",
        Severity.CONCLUSION,
        f"{names([row['checkpoint'] for row in rows])} read the same file of tokens as others and saw another number of "
        "samples or tokens, so that their maxima are of other input.",
        "data_path, num_samples and sun_n_tokens",
        table(rows),
    )


def limit_unreached(published: Published) -> Finding | None:
    """A limit of length far above the mean length of a sample."""
    groups = defaultdict(list)
    for checkpoint in published.checkpoints:
        tokens, limit = tokens_of(checkpoint), checkpoint.max_sequence_length
        if tokens is not None and limit is not None and limit >= UNREACHED * tokens / checkpoint.samples:
            groups[limit, tokens, checkpoint.samples].append(checkpoint.name)
    rows = [
        {"checkpoints": names(sorted(found), 3), "limit": limit, "samples": samples, "mean_tokens": tokens / samples}
        for (limit, tokens, samples), found in sorted(groups.items())
    ]
    if not rows:
        return None
    longest = max(float(str(row["mean_tokens"])) for row in rows)
    return Finding(
        "limit_unreached",
        "A limit of length far above the mean length",
        Severity.COSMETIC,
        f"max_seq_len is {UNREACHED} times the mean length of a sample or more (at most {longest:,.0f} tokens).",
        "max_seq_len against sun_n_tokens",
        table(rows),
    )
