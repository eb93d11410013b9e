"""Which jobs of a study read weights, and what else decides whether they have ended."""

from __future__ import annotations

from maxact.store.dropping import Readers
from maxact.study import Study
from maxact.study.evaluating import evaluated
from maxact.study.paper_check import paper_checked
from maxact.study.perplexity import perplexed


def readers_of_weights(study: Study) -> Readers:
    """The jobs that read weights which are not kept, as `maxact/store/dropping.py` has them; nothing where weights are kept.

    Shards are parts of `measure`. Variants are of a target of its own, which may never be asked for.
    """
    if study.keep_weights:
        return {}
    chosen = {"evaluate": evaluated(study), "perplexity": perplexed(study), "paper_check": paper_checked(study)}
    later = {stage: frozenset(names) for stage, names in chosen.items()}
    found = {}
    for checkpoint in study.checkpoints:
        name = checkpoint.name
        loaded = {"tokens": checkpoint.family, "checkpoint": name}
        checked = loaded if checkpoint.planted else {**loaded, "loading_check": name}
        reading = {} if checkpoint.planted else {"loading_check": loaded}
        reading["measure"] = checked
        for stage, names in later.items():
            if name in names:
                reading[stage] = {**(checked if stage == "evaluate" else loaded), "measure": name}
        found[name] = {
            f"{stage}/{name}.json": {
                "key": f"keys/{stage}/{name}.json",
                **{source: f"{source}/{of}.json" for source, of in above.items()},
            }
            for stage, above in reading.items()
        }
    return {"checkpoint": found}
