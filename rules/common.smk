"""The study, validated; the key stamps; and paths that several stages share."""

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.exceptions import WorkflowError

from maxact.devices import gpus_in
from maxact.errors import UserError
from maxact.needs.passes import TOKENS
from maxact.needs.lookup import Lookup, LookupOfPublished
from maxact.published.choice import note_source_of
from maxact.recipes import write_stamps
from maxact.results.registry import PAGE_SUFFIXES, PAGES
from maxact.slurm import LOGS, Asked, kinds_in
from maxact.store.disk import write_if_changed
from maxact.store.dropping import READERS
from maxact.store.objects import canonical
from maxact.store.ungiven import tell_ungiven
from maxact.store.workspace import refuse_unquotable
from maxact.study import PublishedStudy, validate_study
from maxact.study.evaluating import evaluated
from maxact.study.named import claim_name
from maxact.study.perplexity import perplexed
from maxact.study.paper_check import paper_checked
from maxact.study.readers import readers_of_weights
from maxact.study.sensitivity import variants

if not workflow.overwrite_configfiles:

    configfile: str(Path(workflow.basedir, "config.yaml"))


CONFIGURATION = [Path(file) for file in workflow.configfiles]
try:
    refuse_unquotable([workflow.basedir, sys.executable])
    STUDY = validate_study(config, CONFIGURATION)
    PUBLISHED = isinstance(STUDY, PublishedStudy)
    NEEDS = LookupOfPublished() if PUBLISHED else Lookup(STUDY, Path("artifacts"))
    ARTIFACTS = Path("artifacts", STUDY.study)
    REPORTS = Path("reports", STUDY.study)
    if workflow.is_main_process:
        claim_name(STUDY.study, CONFIGURATION, ARTIFACTS)
        write_stamps(STUDY, ARTIFACTS / "keys", Path(workflow.basedir, "envs"))
        if PUBLISHED:
            note_source_of(STUDY, ARTIFACTS.parent)
        write_if_changed(
            ARTIFACTS / READERS,
            canonical({} if PUBLISHED else readers_of_weights(STUDY)),
        )
        write_if_changed(
            ARTIFACTS / "study.yaml",
            yaml.safe_dump(STUDY.model_dump(exclude_unset=True), sort_keys=False),
        )
        tell_ungiven(ARTIFACTS.parent)
except UserError as error:
    raise WorkflowError(f"error: {error}") from None

SCRIPT = "../workflow_scripts/run_stage.py"
ENVIRONMENT = "../envs/cpu.yaml"
THREADS = 1 if PUBLISHED else STUDY.measure.threads
VARIED = [] if PUBLISHED or not STUDY.sensitivity else STUDY.sensitivity.checkpoints
# Mappings, for each job asks whether it is among them.
EVALUATED = dict.fromkeys([] if PUBLISHED else evaluated(STUDY))
PERPLEXED = dict.fromkeys([] if PUBLISHED else perplexed(STUDY))
CHECKED = dict.fromkeys([] if PUBLISHED else paper_checked(STUDY))
REAL = dict.fromkeys(
    [] if PUBLISHED else [item.name for item in STUDY.checkpoints if not item.planted]
)


wildcard_constraints:
    name=r"[A-Za-z0-9][A-Za-z0-9._-]*",


def manifest(stage, name="{name}"):
    """The manifest of a stage: the stable path that Snakemake sees."""
    return str(ARTIFACTS / stage / f"{name}.json")


def key(stage, name="{name}"):
    """The key stamp of a job: an ordinary input, rewritten when what decides the job changes."""
    return str(ARTIFACTS / "keys" / stage / f"{name}.json")


def log_file(stage, name="{name}"):
    return str(ARTIFACTS / "logs" / stage / f"{name}.log")


def tokenizer_named(name):
    """A trained tokenizer, or that of a checkpoint."""
    return manifest("tokenizer" if name in STUDY.tokenizers else "checkpoint", name)


def corpus_of_trained(wildcards):
    """A trained tokenizer comes after the corpus; one of the hub may come before it."""
    trained = STUDY.tokenizers[wildcards.name].kind == "trained"
    return manifest("corpus", "corpus") if trained else []


def tokenizer_of_family(wildcards):
    return tokenizer_named(STUDY.families[wildcards.name].tokenizer)


def tokens_of_checkpoint(wildcards):
    return manifest("tokens", STUDY.checkpoint(wildcards.name).family)


def tokenizer_of_planted(wildcards):
    """A planted checkpoint has its family's tokenizer; a real one its own."""
    chosen = STUDY.checkpoint(wildcards.name)
    return (
        tokenizer_named(STUDY.families[chosen.family].tokenizer)
        if chosen.planted
        else []
    )


def loading_check_of(wildcards):
    return manifest("loading_check", wildcards.name) if wildcards.name in REAL else []


def resources_of(stage, name=None):
    """What a job of that stage asks for (`maxact plan` shows it); more when it is tried again. Nothing is recomputed for it."""

    def asked(resource):
        def number(wildcards, attempt):
            return NEEDS.asked(stage, name or wildcards.name, attempt)[resource]

        # Snakemake asks for it twice for each job and resource.
        number.__signature__ = inspect.signature(number)
        return number

    return {
        resource: asked(resource)
        for resource in ("gpu", "mem_mb", "runtime", "disk_mb")
    }


def checkpoint_of_variant(name):
    """A variant is named `<checkpoint>.<variant>`."""
    return name.rpartition(".")[0]


def tokenizer_of_variant(wildcards):
    family = STUDY.checkpoint(checkpoint_of_variant(wildcards.name)).family
    return tokenizer_named(STUDY.families[family].tokenizer)


def above_variant(stage):
    """The manifest of that stage for the checkpoint of a variant."""
    return lambda wildcards: manifest(stage, checkpoint_of_variant(wildcards.name))


def shards_of_checkpoint(wildcards):
    """Parts of the measurement that other jobs make, where the study asks for shards."""
    names = STUDY.checkpoint(wildcards.name).shard_names()
    return [manifest("shard", name) for name in names]


def of_whole(function):
    """For a shard, `<checkpoint>.<number>of<shards>`, what the job that measures the checkpoint has."""
    return lambda wildcards: function(
        SimpleNamespace(name=wildcards.name.rpartition(".")[0])
    )


def variants_of_study(wildcards):
    names = [name for name, _, _ in variants(STUDY)]
    return [manifest("variant", f"{item}.{name}") for item in VARIED for name in names]


def rules_of_run():
    return {job.rule.name for job in workflow.dag.needrun_jobs()}


def jobs_of_run():
    """Of each job that makes a manifest: its path, inputs by name, and outputs."""
    for job in workflow.dag.needrun_jobs():
        if "manifest" in job.output.keys() and not workflow.touch:
            inputs = {
                source: Path(paths) if isinstance(paths, str) else [*map(Path, paths)]
                for source, paths in job.input.items()
            }
            yield Path(job.output.manifest), inputs, [Path(path) for path in job.output]


def gpus_of_run():
    """Devices of each job of this run that runs a model on them; none where another executor than the local one does."""
    if not workflow.local_exec or workflow.touch:
        return {}
    # Not from job.resources, which Snakemake has cut down to what the run may use.
    needs = {
        job.wildcards.name: NEEDS.of(job.rule.name, job.wildcards.name).gpus
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in TOKENS
    }
    return {name: number for name, number in needs.items() if number}


def on_cluster():
    """Whether jobs go to SLURM."""
    plugin = workflow.executor_plugin
    return plugin is not None and plugin.cli_prefix == "slurm"


def asked_of_cluster():
    """What each job of this run asks of SLURM; nothing where another executor runs them."""
    if not on_cluster():
        return []
    return [
        Asked(
            job.rule.name,
            getattr(job.wildcards, "name", ""),
            job.resources.get("slurm_partition"),
            job.resources.get("gpu", 0) or gpus_in(job.resources.get("gres", "")),
            job.resources.get("mem_mb", 0),
            job.resources.get("runtime", 0),
            kinds_in(",".join(generic_resources(job))),
        )
        for job in workflow.dag.needrun_jobs()
        if not job.is_local
    ]


def generic_resources(job):
    """As SLURM names them, where a profile does."""
    model = job.resources.get("gpu_model")
    return [job.resources.get("gres", ""), f"gpu:{model}" if model else ""]


def slurm_logs():
    """Where SLURM writes what its jobs print."""
    return Path(workflow.executor_settings.logdir or LOGS)


def gpus_provided():
    """What `--resources gpu=N` says, or a profile; None where neither does."""
    given = workflow.global_resources.get("gpu")
    return given.value if given else None


def above_results():
    """What the tables are made of: all that was measured, or the published results."""
    if PUBLISHED:
        return {"published": manifest("published", "published")}
    names = [item.name for item in STUDY.checkpoints]
    families = sorted({item.family for item in STUDY.checkpoints})
    above = {"tokens": families, "checkpoint": names, "loading_check": REAL}
    above |= {"measure": names, "quantize": names}
    above |= {"evaluate": EVALUATED, "perplexity": PERPLEXED}
    above |= {"paper_check": CHECKED}
    return {
        stage: [manifest(stage, name) for name in every]
        for stage, every in above.items()
    }


def described(kind, name, suffix, entry):
    """Mark a file for the report, with its caption, category and label. Pages lie beside the report itself."""
    folder = REPORTS if kind == "pages" else REPORTS / kind
    path = str(folder / f"{name}.{suffix}")
    return report(
        path,
        caption=f"../reports/captions/{kind}/{name}.rst",
        category=entry.category,
        labels={"what": entry.title},
    )


def page_files(name):
    """The files of a page (`PAGES`): Markdown, JSON, and HTML for the report."""
    *others, last = PAGE_SUFFIXES
    plain = [str(REPORTS / f"{name}.{suffix}") for suffix in others]
    return [*plain, described("pages", name, last, PAGES[name])]
