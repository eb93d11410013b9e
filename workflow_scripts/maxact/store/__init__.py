"""Content-addressed artifacts: objects by SHA-256, actions by recipe and input content, manifests by name.

Knows nothing of activations. Layout under one root (`artifacts/`):

    objects/ab/abcd....parquet        read-only, named by the SHA-256 of its bytes
    actions/<key>.json                what a recipe over some inputs has made
    locks/<key>                       held while an action is computed
    claims/<key>.<n>.json             the same, at a remote or where other machines see no locks
    ungiven/<key>.json                what the remote has yet to be given
    journal.jsonl                     one line for each action computed: when, where, how long, how many forward passes
    <study>/keys/<stage>/<name>.json  key stamps: the recipe of each job, rewritten only when it changed
    <study>/<stage>/<name>.json       manifests: the stable paths that Snakemake sees
"""
