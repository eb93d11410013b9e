"""Run the sample of a stored maximum again, alone, and compare what is seen with what was stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from maxact.errors import UserError
from maxact.measurement import SCHEMAS, read_table
from maxact.recipes import jobs
from maxact.remeasure import Stored, hold_study, stored
from maxact.results.member import site_name
from maxact.stages import STAGES
from maxact.store.code import code_digest
from maxact.store.objects import Manifest, Store
from maxact.store.run import upstream, whole
from maxact.study import Study
from maxact.study.chosen import refuse_unknown_checkpoint
from maxact.witness import Witness, Witnesses


@dataclass(frozen=True)
class Replay:
    """A maximum, and what its sample gave when it was run again.

    Attributes:
        site: "residual@13".
        stored, now: the signed value there; `now` is None where the sample has no finite value any more.
        channel, expert: where in the token's row it was stored.
        same: at how many sites the sample's largest and smallest values and their places have the same bits.
        sites: of how many.
        difference: the largest relative difference between a stored extreme and that of now.
        reasons: what has changed or differs by design, so that bits may differ.
    """

    checkpoint: str
    planted: bool
    site: str
    witness: Witness
    channel: int
    expert: int | None
    stored: float
    now: float | None
    same: int
    sites: int
    difference: float
    reasons: list[str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def to_text(self) -> str:
        """For people."""
        place = f"{self.site}, channel {self.channel}"
        place += "" if self.expert is None else f", expert {self.expert}"
        at = self.witness
        now = "no finite value" if self.now is None else f"{self.now:,.9g}"
        lines = [
            f"{self.checkpoint}{' (planted)' if self.planted else ''}: {self.stored:,.9g} at {place}",
            f"sample {at.sample}, position {at.position}: {at.id} ({at.domain}, {at.language}, {at.script})",
            f"text: {at.text}",
            f"run again alone: {now}; the same bits at {self.same} of {self.sites} sites",
        ]
        if self.same < self.sites:
            lines.append(f"an extreme of the sample differs by up to {self.difference:.3g} of its value")
            lines += [f"note: {reason}" for reason in self.reasons]
        return "\n".join(lines)


def replay(study: Study, checkpoint: str, site: str | None, store: Store) -> Replay:
    """Run the sample on which a site peaks.

    Args:
        checkpoint: its name in the study.
        site: a component, and @ and a layer where it has one; the site of M without it.

    Raises:
        UserError: no such checkpoint or site, it is not measured, or a run of the study is at work.
    """
    refuse_unknown_checkpoint(checkpoint, study)
    hold_study(study, store)
    found = stored(study, checkpoint, store)
    if isinstance(found, str):
        raise UserError(f"{checkpoint}: {found}; run the study first")
    files = whole(found.manifest, store)
    sites = read_table(files["sites.parquet"])
    if set(SCHEMAS["sites"].names) - set(sites.columns):
        raise UserError(f"{checkpoint}: was measured by an older version; run the study again")
    row = _site(site or _of_M(checkpoint, found.manifest), sites)
    parameters = found.manifest.recipe["parameters"] | {"sample": int(row["peak_sample"])}
    again = whole(
        found.run("replay", {**found.manifest.recipe, "parameters": parameters}, study, store, again=True), store
    )
    extremes = read_table(files["samples.parquet"])
    same, difference = _compare(
        extremes[extremes["sample"] == parameters["sample"]], read_table(again["samples.parquet"])
    )
    now = read_table(again["sites.parquet"]).set_index("site").loc[row["site"], "peak_signed"]
    return Replay(
        checkpoint=checkpoint,
        planted=study.checkpoint(checkpoint).planted,
        site=site_name(row["component"], row["layer"]),
        witness=_witness(found, store, int(row["peak_sample"]), int(row["peak_position"])),
        channel=int(row["peak_channel"]),
        expert=None if pd.isna(row["peak_expert"]) else int(row["peak_expert"]),
        stored=float(row["peak_signed"]),
        now=None if pd.isna(now) else float(now),
        same=int(same.sum()),
        sites=len(same),
        difference=difference,
        reasons=list(_reasons(study, checkpoint, found)),
    )


def _of_M(checkpoint: str, manifest: Manifest) -> str:
    M = manifest.summary["M"]
    if M is None:
        raise UserError(f"{checkpoint}: no activation is finite; give --site")
    return site_name(M["component"], M["layer"])


def _site(name: str, sites: pd.DataFrame) -> dict[Any, Any]:
    """The row of a site.

    Raises:
        UserError: it was not measured, or has no finite value.
    """
    rows = {site_name(row["component"], row["layer"]): row for row in sites.to_dict("records")}
    if name not in rows:
        components = ", ".join(dict.fromkeys(sites["component"]))
        raise UserError(
            f"--site {name}: not measured; give COMPONENT@LAYER or, of what exists once, COMPONENT: {components}"
        )
    row: dict[Any, Any] = rows[name]
    if row["status"] != "measured":
        raise UserError(f"--site {name}: not applicable to this architecture ({row['reason']})")
    if pd.isna(row["peak"]):
        raise UserError(f"--site {name}: no activation there is finite")
    return row


def _compare(stored: pd.DataFrame, now: pd.DataFrame) -> tuple[pd.Series[bool], float]:
    """By site whether all is the same, and the largest relative difference of an extreme; infinite where one is missing."""
    mine, theirs = stored.set_index("site"), now.set_index("site").reindex(stored["site"])
    same = ((mine == theirs) | (mine.isna() & theirs.isna())).all(axis=1)
    largest = 0.0
    for name in ("max", "min"):
        apart = (mine[name] - theirs[name]).abs() / mine[name].abs().clip(lower=1e-30)
        largest = max(largest, float(apart[~same].fillna(float("inf")).max()) if not same.all() else 0.0)
    return same, largest


def _witness(found: Stored, store: Store, sample: int, position: int) -> Witness:
    tokens = found.inputs["tokens"]
    record = store.action(tokens.key)
    assert record is not None  # what `found.inputs` was read from
    tokenizer = whole(upstream(record["inputs"]["tokenizer"], store), store)["tokenizer.json"]
    return Witnesses(whole(tokens, store)["tokens.parquet"], tokenizer).at(sample, position)


def _reasons(study: Study, checkpoint: str, found: Stored) -> list[str]:
    told = []
    recipe = found.manifest.recipe
    budget = found.manifest.summary.get("batch_tokens")
    if budget is not None:
        told.append(f"the sample was measured among others (batch_tokens {budget})")
    job = next(job for job in jobs(study) if (job.stage, job.name) == ("measure", checkpoint))
    if code_digest([STAGES["measure"].module, *job.modules]) != recipe["code"]:
        told.append("the measuring code has changed since")
    told.append("last bits depend on the processor or GPU; `maxact show` tells where it was measured")
    return told
