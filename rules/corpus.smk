"""From sources of text to token ids: corpus, then tokens of each family."""


rule corpus:
    """Choose the samples: domain, language, script and length of each."""
    input:
        key=key("corpus", "corpus"),
        tokenizer=tokenizer_named(STUDY.corpus.length_tokenizer),
    output:
        manifest=manifest("corpus", "corpus"),
    log:
        log_file("corpus", "corpus"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("corpus", "corpus"),
    script:
        SCRIPT


rule tokenizer:
    """Train a small tokenizer for planted families on the corpus, or take one from the hub."""
    input:
        key=key("tokenizer"),
        corpus=corpus_of_trained,
    output:
        manifest=manifest("tokenizer"),
    log:
        log_file("tokenizer"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("tokenizer"),
    script:
        SCRIPT


rule tokens:
    """Tokenize the corpus for one family, and split it."""
    input:
        key=key("tokens"),
        corpus=manifest("corpus", "corpus"),
        tokenizer=tokenizer_of_family,
    output:
        manifest=manifest("tokens"),
    log:
        log_file("tokens"),
    conda:
        ENVIRONMENT
    resources:
        **resources_of("tokens"),
    script:
        SCRIPT
