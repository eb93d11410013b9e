"""The claims of the paper: other numbers give other verdicts, other names and another order do not."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from results.members import errors_of, headline_of, nothing_finite, planted, real, samples_of, sites_of

from maxact.results.claims import CLAIMS, claims, not_judged
from maxact.results.claims.claim import Claim, Verdict, of_share
from maxact.results.claims.material import Material
from maxact.results.claims.pages import page, to_json
from maxact.results.claims.paper import PAPER
from maxact.results.member import Member
from maxact.results.pages import page_to_html, page_to_markdown
from maxact.results.text import html_text, markdown_text
from maxact.store.objects import canonical

HOLDS, IN_PART, FAILS, UNKNOWN = Verdict

Questions = Mapping[str, Mapping[str, Sequence[str]]]

QUESTIONS: Questions = {
    "matched_sizes": {"small": ["a1", "b1", "c1"], "large": ["a2", "b2", "c2"]},
    "scaling": {"a": ["a1", "a2"], "b": ["b1", "b2"]},
    "generations": {"line": ["a2", "b2"]},
    "moe_vs_dense": {"a": ["a2", "a-moe"], "b": ["b2", "b-moe"]},
    "base_vs_instruct": {"a": ["a1", "a1-it"]},
}


@functools.cache
def checkpoint(
    name: str, M: float, family: str, model_type: str = "qwen2", component: str = "residual", passed: int = 1
) -> Member:
    """A real checkpoint of four layers with M in its second; so many tokens pass the test at each residual site."""
    mixture = "moe" in model_type
    sites = sites_of(4, {(component, 1): M}, router=mixture)
    sites["massive_tokens_passed"] = np.where(sites.component == "residual", passed, 0)
    sites["max"], sites["min"] = sites.peak_signed, -sites.peak
    base = real(name=name, layers=4)
    summary = {**base.summary, "model_type": model_type, "layers": 4, "parameters": None}
    classes = base.classes.assign(abs_max=[M, None, M / 2, 1.0])
    return replace(
        base,
        family=family,
        summary=summary,
        headline=headline_of(sites),
        sites=sites,
        errors=errors_of(sites),
        samples=samples_of(M),
        classes=classes,
    )


def copies(*members: Member) -> list[Member]:
    """The same under names of their own: c0, c1, ..."""
    return [replace(member, name=f"c{at}") for at, member in enumerate(members)]


def study(**changed: float) -> list[Member]:
    """Three families of two sizes, two mixtures, a tuned checkpoint, and a planted one with the largest M of all."""
    M = {"a1": 14000.0, "a2": 35328.0, "b1": 122.0, "b2": 1000.0, "c1": 3000.0, "c2": 2000.0, "a-moe": 1512.0}
    M = {**M, "b-moe": 1000 / 14, "gemma-3-27b-it": 696320.0, "a1-it": 13000.0, **changed}
    types = {"b1": "qwen3_5", "b2": "qwen3_5", "a-moe": "qwen3_moe", "b-moe": "qwen3_5_moe"}
    found = [checkpoint(name, value, name[:1], types.get(name, "qwen2")) for name, value in M.items()]
    return [*found, planted("planted", value=9e6), planted("planted-moe", value=5e6, model_type="qwen3_moe")]


def judged(name: str, members: Sequence[Member], questions: Questions = QUESTIONS) -> Claim:
    judge = next(judge for judge in CLAIMS if judge.__name__ == name)
    return judge(Material(tuple(members), questions))


def verdict_of(claim: Claim, choice: str) -> Verdict:
    return next(reading.verdict for reading in claim.others if reading.choice.startswith(choice))


def changed(members: Sequence[Member], name: str, **fields: object) -> list[Member]:
    return [replace(member, **fields) if member.name == name else member for member in members]  # type: ignore[arg-type]


def with_subsets(members: Sequence[Member], **values: Sequence[float]) -> list[Member]:
    """Those members with M of some subsets."""
    for name, found in values.items():
        rows = [{"size": 20, "repetition": at, "M": M} for at, M in enumerate(found)]
        members = changed(members, name, subsets=pd.DataFrame(rows))
    return list(members)


def renamed(members: Sequence[Member], questions: Questions) -> tuple[list[Member], Questions]:
    """Every checkpoint but the one that the paper names under another name, and all in another order."""
    kept = PAPER["largest"].numbers["checkpoint"]
    names = {member.name: member.name if member.name == kept else f"z{at}" for at, member in enumerate(members)}
    others = {
        question: {group: [names[name] for name in found] for group, found in groups.items()}
        for question, groups in questions.items()
    }
    return [replace(member, name=names[member.name]) for member in reversed(members)], others


def test_names_and_order_change_no_verdict() -> None:
    original = with_subsets(study(), a1=[14000.0, 13800.0], a2=[35000.0, 30000.0])
    members, questions = renamed(original, QUESTIONS)
    for one, other in zip(claims(original, QUESTIONS), claims(members, questions), strict=True):
        assert one.verdict == other.verdict
        assert one.depends.verdict.tolist() == other.depends.verdict.tolist()


def test_planted_checkpoints_never_count() -> None:
    members = study()
    without = [member for member in members if member.kind == "real"]
    for one, other in zip(claims(members, QUESTIONS), claims(without, QUESTIONS), strict=True):
        assert one.depends.equals(other.depends)
        assert one.evidence.equals(other.evidence)
        assert set(one.evidence.kind) == {"real"}


@pytest.mark.parametrize("members", [[], [planted()], [nothing_finite()]])
def test_a_study_without_what_a_claim_is_about_cannot_tell(members: list[Member]) -> None:
    for claim in claims(members, {}):
        assert claim.verdict == UNKNOWN
        assert claim.read.value
        assert claim.evidence.empty


def test_the_span_is_that_of_one_size_with_mixtures_by_all_their_parameters() -> None:
    claim = judged("span", study(c2=9000.0))
    assert claim.verdict == IN_PART  # 35,328 to 71.4 among the large
    assert claim.read.value.startswith("2.69 orders of magnitude in large: 71.4286 in b-moe")
    assert verdict_of(claim, "matched sizes, dense") == FAILS
    assert verdict_of(claim, "all checkpoints") == HOLDS  # gemma is in no group of matched sizes
    assert judged("span", study(a2=400_000.0)).verdict == HOLDS
    assert judged("span", study(a2=1500.0, c2=1200.0, a1=900.0)).verdict == FAILS
    assert judged("span", study(a2=71.5 * 10**4.6)).verdict == IN_PART  # rounds to five
    assert judged("span", study(a2=71.5 * 10**8)).verdict == FAILS


def test_where_parameters_are_known_they_say_what_is_comparable() -> None:
    members = [
        replace(member, summary={**member.summary, "parameters": size})
        for member, size in zip(study(), [1e9, 9e9, 1.5e9, 8e9, 2e9, 9e9, 9e9, 9e9, 27e9, 1e9, 1e6, 1e6], strict=True)
    ]
    claim = judged("span", members)
    reading = next(reading for reading in claim.others if reading.choice.startswith("parameters within"))
    assert reading.value.startswith("2.69 orders of magnitude in 9 to 18 billion")
    assert reading.value.endswith("35,328 in a2")


def test_checkpoints_without_a_known_size_are_named_beside_what_is_by_size() -> None:
    sizes = {"a1": 1e9, "a2": 9e9, "b1": 1.5e9, "b2": 8e9, "c1": 2e9, "c2": 9e9, "a-moe": 9e9}
    members = [replace(member, summary={**member.summary, "parameters": sizes.get(member.name)}) for member in study()]
    span, scaling = judged("span", members), judged("scaling", members)
    reading = next(reading for reading in span.others if reading.choice.startswith("parameters within"))
    assert reading.value.endswith("; 2 without a known size: b-moe, gemma-3-27b-it")
    assert scaling.read.value.endswith("; 2 without a known size: b-moe, gemma-3-27b-it")
    dense = next(reading for reading in scaling.others if reading.choice.startswith("dense"))
    assert dense.value.endswith("; 1 without a known size: gemma-3-27b-it")


def test_small_ones_are_inside_the_range_or_named() -> None:
    claim = judged("small", study())
    assert claim.verdict == IN_PART
    assert claim.read.value == "2 of 4; not a-moe (1,512), b-moe (71.4286)"
    assert judged("small", study(**{"a-moe": 500.0, "b-moe": 100.0})).verdict == HOLDS
    assert judged("small", study(b1=5.0, b2=2000.0)).verdict == FAILS
    assert verdict_of(claim, "Qwen3.5 alone") == IN_PART


def test_the_largest_is_the_checkpoint_that_the_paper_names() -> None:
    assert judged("largest", study()).verdict == HOLDS
    assert judged("largest", study(**{"gemma-3-27b-it": 640_000.0})).verdict == FAILS
    assert judged("largest", [member for member in study() if "gemma" not in member.name]).verdict == UNKNOWN
    larger = judged("largest", study(a2=800_000.0))
    assert larger.verdict == HOLDS
    assert verdict_of(larger, "that it is the largest") == FAILS


def test_scaling_is_broken_by_a_larger_checkpoint_with_a_smaller_M() -> None:
    assert judged("scaling", study()).verdict == HOLDS
    growing = {"a1": 10.0, "b1": 11.0, "c1": 12.0, "a2": 20.0, "b2": 21.0, "c2": 22.0}
    assert judged("scaling", study(**growing)).verdict == FAILS
    assert judged("scaling", study(**growing | {"c2": 10.5})).verdict == IN_PART  # across families alone
    assert judged("scaling", study(**growing | {"b2": 9.0})).verdict == HOLDS
    alone = {**QUESTIONS, "matched_sizes": {"small": ["a1"], "large": ["c2"]}}
    assert judged("scaling", study(**growing), alone).verdict == UNKNOWN  # one pair, and none across generations
    assert verdict_of(judged("scaling", study(**growing)), "within a family") == FAILS
    assert verdict_of(judged("scaling", study(**growing | {"a2": 9.0})), "within a family") == IN_PART


def test_mixtures_are_lower_by_the_stated_factors_or_only_lower() -> None:
    claim = judged("experts", study())
    assert claim.verdict == HOLDS
    assert claim.evidence.times_lower.round(1).tolist() == [23.4, 14.0]
    assert judged("experts", study(b2=1100.0)).verdict == IN_PART  # lower, by another factor
    assert judged("experts", study(b2=50.0, a2=50.0)).verdict == FAILS
    assert verdict_of(claim, "every mixture") == HOLDS


def test_a_mixture_without_a_dense_checkpoint_beside_it_is_told() -> None:
    members = [*study(), checkpoint("alone", 145408.0, "other", "gpt_oss_moe")]
    claim = judged("experts", members)
    assert claim.verdict == HOLDS
    assert verdict_of(claim, "every mixture") == IN_PART
    row = claim.evidence[claim.evidence.checkpoint == "alone"].iloc[0]
    assert row.group == "no dense checkpoint beside it"
    assert row.above == "6 of 7 dense"
    assert verdict_of(claim, "mixtures without a dense") == FAILS


def test_the_residual_stream_carries_M_in_a_share_of_the_main_checkpoints() -> None:
    kinds = ["residual"] * 22 + ["mlp_output"] * 2
    members = copies(*[checkpoint("c", 50.0, "f", component=kind) for kind in kinds])
    tuned = checkpoint("tuned", 70.0, "f", component="mlp_output")
    questions = {"base_vs_instruct": {"c0": ["c0", "tuned"]}}
    claim = judged("residual", [*members, tuned], questions)
    assert claim.verdict == HOLDS
    assert claim.read.value == "22 of 24; not c22, c23"
    moved = checkpoint("c0", 50.0, "f", component="mlp_output")
    assert judged("residual", [moved, *members[1:]]).verdict == IN_PART
    assert judged("residual", members[19:]).verdict == IN_PART
    assert judged("residual", [moved, *members[20:]]).verdict == FAILS
    assert judged("residual", members[20:]).verdict == UNKNOWN  # of four checkpoints


def test_a_tie_with_the_residual_stream_is_told_and_goes_to_the_first_site() -> None:
    member = checkpoint("tie", 50.0, "f", component="mlp_output")
    sites = member.sites.copy()
    sites.loc[(sites.component == "residual") & (sites.layer == 1), "peak"] = 50.0
    others = copies(*[checkpoint("c", 60.0, "f")] * 11)
    claim = judged("residual", [replace(member, sites=sites, headline=headline_of(sites)), *others])
    assert (claim.verdict, claim.read.value) == (HOLDS, "11 of 12; not tie")
    assert verdict_of(claim, "ties go to the residual stream (tie)") == IN_PART  # all of them, and not 22 of 24
    assert claim.evidence[["ties", "equal_in_residual"]].iloc[0].tolist() == [1, "yes"]


def test_the_massive_activation_test_counts_checkpoints() -> None:
    members = copies(*[checkpoint("c", 500.0, "f", passed=int(at < 20)) for at in range(24)])
    claim = judged("massive", members)
    assert (claim.verdict, claim.read.value) == (HOLDS, "20 of 24; not c20, c21, c22, c23")
    members[0] = checkpoint("c0", 500.0, "f", passed=0)
    assert judged("massive", members).verdict == IN_PART
    assert verdict_of(judged("massive", members), "against the median of the whole site") == IN_PART
    assert judged("massive", members[18:]).verdict == FAILS


def errors_by(order: Sequence[int]) -> list[Member]:
    """Checkpoints with rising M, whose errors are in that order whatever the policy."""
    members = [checkpoint(f"c{at}", 100.0 * 3**at, f"f{at}") for at in range(len(order))]
    found = []
    for member, rank in zip(members, order, strict=True):
        error = 0.01 * (rank + 1)
        errors = member.errors.assign(
            relative_rmse=error, relative_mae=error, rmse=error, sqnr_db=-20 * np.log10(error)
        )
        found.append(replace(member, errors=errors))
    return found


def test_int8_errors_follow_M_by_their_ranks() -> None:
    assert judged("int8", errors_by([0, 1, 2, 3, 4, 5])).verdict == HOLDS
    assert judged("int8", errors_by([5, 4, 3, 2, 1, 0])).verdict == FAILS
    assert judged("int8", errors_by([0, 1, 2, 3])).verdict == UNKNOWN
    mixed = errors_by([0, 1, 2, 3, 4, 5])
    mixed = [replace(member, errors=member.errors.assign(relative_mae=1 / at)) for at, member in enumerate(mixed, 1)]
    claim = judged("int8", mixed)
    assert claim.verdict == IN_PART
    assert verdict_of(claim, "relative mae, threshold max") == FAILS
    assert verdict_of(claim, "relative rmse, threshold max") == HOLDS


def test_an_int8_error_is_taken_at_the_site_of_M() -> None:
    members = [
        checkpoint(f"c{at}", 100.0 * 3**at, "f", component="mlp_output" if at == 2 else "residual") for at in range(5)
    ]
    claim = judged("int8", members)
    assert claim.evidence.error_at.unique().tolist() == ["residual@1", "mlp_output@1"]
    assert verdict_of(claim, "rmse, threshold max; errors of the residual") == UNKNOWN  # four of the five needed


def test_subsets_are_near_M_or_not() -> None:
    near = judged("stability", with_subsets(study(), a1=[14000.0, 13000.0]))
    assert near.verdict == HOLDS
    assert near.evidence[["runs", "same", "above", "smallest"]].to_numpy().tolist() == [[2, 1, 0, 13000.0]]
    assert judged("stability", with_subsets(study(), a1=[14000.0, 12000.0])).verdict == FAILS
    assert judged("stability", with_subsets(study(), a1=[14000.0], a2=[20000.0])).verdict == IN_PART
    for values, verdict in (([7000.0, 28000.0], HOLDS), ([6999.0], FAILS), ([28001.0], FAILS), ([0.0], FAILS)):
        assert verdict_of(judged("stability", with_subsets(study(), a1=values)), "within a factor of 2") == verdict
    above = judged("stability", with_subsets(study(), a1=[14100.0, 14000.0]))
    reached = next(reading for reading in above.others if reading.choice == "M itself is reached")
    assert reached.value == "in 1 of 2 subsets, and exceeded in 1"


def test_without_subsets_resamples_of_the_samples_tell() -> None:
    claim = judged("stability", study())
    assert claim.verdict == HOLDS  # every fifth sample has 90 % of M
    rows = claim.evidence
    assert rows.runs.isna().all()
    assert (rows.smallest <= rows["mean"]).all()
    steady = changed(study(), "a1", samples=samples_of(14000.0).assign(abs_max=14000.0))
    again = judged("stability", steady).evidence
    assert again[again.checkpoint == "a1"].farthest.tolist() == [0.0]
    single = samples_of(14000.0)
    single["abs_max"] = np.where(single["sample"] == 3, 14000.0, 1.0)
    alone = judged("stability", changed(study(), "a1", samples=single))
    assert alone.verdict == IN_PART
    assert verdict_of(alone, "without the sample that has M") == IN_PART


def test_the_first_token_of_a_sample_can_be_left_out() -> None:
    claim = judged("experts", study())
    assert verdict_of(claim, "without the first token") == HOLDS  # half of everything
    members = study()
    mixture = next(member for member in members if member.name == "a-moe")
    classes = mixture.classes.assign(abs_max=[1512.0, None, 1512.0, 1.0])
    assert (
        verdict_of(judged("experts", changed(members, "a-moe", classes=classes)), "without the first token") == IN_PART
    )
    unknown = changed(members, "a-moe", classes=mixture.classes.assign(abs_max=np.nan))
    assert verdict_of(judged("experts", unknown), "without the first token") == UNKNOWN


def test_a_share_holds_if_no_other_count_is_nearer() -> None:
    assert of_share(22, 24, 22 / 24) == HOLDS
    assert of_share(25, 27, 22 / 24) == HOLDS
    assert of_share(23, 24, 22 / 24) == IN_PART
    assert of_share(12, 24, 22 / 24) == FAILS
    assert of_share(2, 4, 0.5) == UNKNOWN


def test_the_page_and_the_json_tell_the_same_and_hostile_names_stay_text() -> None:
    members = [replace(member, name="<b>|`x`\n" if member.name == "b2" else member.name) for member in study()]
    questions = {**QUESTIONS, "matched_sizes": {"large": ["a2", "<b>|`x`\n"]}}
    found = claims(members, questions)
    left_out = {"<b>|gone": "not valid JSON"}
    markdown, html, told = (
        page_to_markdown(page(found, left_out)),
        page_to_html(page(found, left_out)),
        to_json(found, left_out),
    )
    for text, title in ((markdown, markdown_text), (html, html_text)):
        assert "<b>|" not in text
        assert all(title(claim.stated.title) in text for claim in found)
    assert json.loads(canonical(told)) == told
    assert [claim["verdict"] for claim in told] == [str(claim.verdict) for claim in found]
    summary = page(found, {}).summary
    assert summary.verdict.tolist() == [str(claim.verdict) for claim in found]


def test_checkpoints_that_no_claim_counts_are_named_with_why() -> None:
    first, *others = study()
    members = [replace(first, headline={**first.headline, "M": None}), *others]
    left_out = not_judged(members, {"gone": "a reason"})
    assert left_out == {"gone": "a reason", first.name: "has no finite M"}
    told = f"Checkpoints of this study that no claim counts: gone (a reason); {first.name} (has no finite M)."
    assert told in page(claims(members, QUESTIONS), left_out).introduction
    assert all(claim["not_judged"] == left_out for claim in to_json(claims(members, QUESTIONS), left_out))
    assert not_judged(study(), {}) == {}
    assert not any("that no claim counts" in line for line in page(claims(study(), QUESTIONS), {}).introduction)


def test_every_statement_has_its_numbers() -> None:
    for name, stated in PAPER.items():
        assert "{orders}" not in stated.statement
        assert stated.source, name
    assert {claim.name for claim in claims([], {})} == set(PAPER)
