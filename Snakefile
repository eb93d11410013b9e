# maxact: how large activations get in open language models.
#
# reports/<study>/figures/<figure>.pdf, .png    reports/<study>/tables/<table>.csv, .md    reports/<study>/report.html
# artifacts/<study>/<stage>/<name>.json         what a stage has made (manifests; the data are in artifacts/objects)
# artifacts/<study>/keys/<stage>/<name>.json    what decides it (key stamps)

import gc
import sys
import time
from pathlib import Path

from snakemake.utils import min_version

from maxact.archive.guard import refuse_beyond_archive
from maxact.devices import check_run
from maxact.errors import UserError
from maxact.results.closing import print_closing_table, print_errors
from maxact.store.exchange import NOT_GIVEN, give_rest
from maxact.store.sharing import check_shared
from maxact.slurm import ask_evenly, check_cluster, ended_by_slurm
from maxact.store.workspace import hold_workspace
from maxact.study.pins import refuse_unpinned
from maxact.study.sensitivity import refuse_without_sensitivity

min_version("9.27")

STARTED = time.time()

# Jobs live as long as the run: to look through them for garbage each time that 700 objects are made is a tenth of the work.
gc.set_threshold(200_000, 50, 1000)


report: "reports/workflow.rst"


# For --sdm apptainer alone; envs/cpu.def says how it is built.
container: str(Path(workflow.basedir, "envs", "cpu.sif"))


include: "rules/common.smk"


if PUBLISHED:

    include: "rules/published.smk"

else:

    include: "rules/corpus.smk"
    include: "rules/checkpoints.smk"
    include: "rules/measure.smk"
    include: "rules/perplexity.smk"
    include: "rules/evaluate.smk"
    include: "rules/sensitivity.smk"


include: "rules/results.smk"


rule all:
    default_target: True
    input:
        REPORT,


onstart:
    try:
        refuse_unpinned(STUDY, CONFIGURATION)
        if "sensitivity" in rules_of_run():
            refuse_without_sensitivity(STUDY, CONFIGURATION)
        refuse_beyond_archive(ARTIFACTS, jobs_of_run())
        check_run(gpus_of_run(), gpus_provided(), sys.argv)
        check_cluster(asked_of_cluster())
        hold_workspace(ARTIFACTS)
        check_shared()
    except UserError as error:
        sys.exit(f"error: {error}")
    if on_cluster():
        ask_evenly()


onsuccess:
    asked = {job.rule.name for job in workflow.dag.jobs}
    if "results" in asked:
        print_closing_table(
            Path(manifest("results", "results")), Path(manifest("corpus", "corpus"))
        )
    if "study_report" in asked:
        print(f"report: {REPORT}")
    if "sensitivity" in workflow.dag.targetrules:
        print(f"sensitivity: {REPORTS / 'sensitivity' / 'sensitivity.md'}")
    if not workflow.touch and not give_rest(ARTIFACTS.parent):
        sys.exit(NOT_GIVEN)


onerror:
    print_errors(ARTIFACTS / "logs", STARTED)
    if on_cluster():
        for told in ended_by_slurm(slurm_logs(), STARTED, workflow.workdir_init):
            print(f"error: {told}")
    give_rest(ARTIFACTS.parent)
