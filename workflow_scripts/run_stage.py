"""The script of every stage's rule: the rule's name is the stage."""

from maxact.store.run import run_rule

run_rule(snakemake)  # noqa: F821  (Snakemake defines it)
