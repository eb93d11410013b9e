"""The sections about text: corpus, tokens, loading check, trained tokenizers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maxact.study.hub import HubFiles, HubTokenizer
from maxact.study.mistakes import meant
from maxact.study.sections import Name, NotNegative, Positive, Section, Sha256, Wheel


class PackagedText(Section):
    """Real text out of pinned wheels, in given proportions of domains and lengths."""

    recipe: Literal["packaged_text"]
    samples: Positive
    seed: NotNegative
    proportions: Annotated[dict[str, Positive], Field(min_length=1)]
    """Weight of each domain; samples are shared out by largest remainder, ties in order of name."""
    lengths: Annotated[dict[Positive, Positive], Field(min_length=1)]
    """Weight of each length in tokens of `length_tokenizer`."""
    length_tokenizer: Name
    """The checkpoint whose tokenizer counts the lengths, or one of `tokenizers` that is not trained."""
    wheels: list[Wheel]

    @property
    def longest(self) -> int:
        """Of a sample, in tokens of `length_tokenizer`."""
        return max(self.lengths)


class PinnedFile(Section):
    """A file of this machine, pinned by the SHA-256 of its bytes."""

    path: str
    sha256: Sha256


class LocalFiles(Section):
    """Shards of a data set as files: Parquet, or JSON lines (`.jsonl`, also with `.gz` or `.zst` after it)."""

    kind: Literal["files"]
    files: Annotated[list[PinnedFile], Field(min_length=1)]


DatasetSource = Annotated[HubFiles | LocalFiles, Field(discriminator="kind")]


class Columns(Section):
    """Where a row has what; a dot goes into a nested column, as in `meta.redpajama_set_name`."""

    text: str = "text"
    subset: str | None = None
    """What `domains` chooses by."""


class Domain(Section):
    """Which documents are of a domain: by their subset, by their script, or both.

    Domains are a list, as a document belongs to the first whose rule it meets. A document's script is that of most of its
    letters; Japanese and Korean are not Chinese.
    """

    name: Name
    subsets: list[str] = []
    """Any, where none is named."""
    scripts: list[Annotated[str, Field(pattern=r"^(not )?[A-Z][a-z]{3}$")]] = []
    """ISO 15924, such as `Hani`; `not Latn` is all but that. One without `not` must hold, and all with `not`."""
    language: str = "und"
    """BCP 47, as the data set's card states it; `und` where it is not known."""


class SampledDataset(Section):
    """Documents chosen from a data set, in given proportions of domains and lengths."""

    recipe: Literal["sampled_dataset"]
    source: DatasetSource
    columns: Columns = Columns()
    domains: list[Domain]
    """A document belongs to the first of them whose rule it meets."""
    fill: Name
    """The domain that makes up for what others lack when the documents are read."""
    documents: Positive
    """At most this many documents are read."""
    shuffle_buffer: Positive
    """Documents from among which the next is drawn; their order follows from the seed."""
    samples: Positive
    seed: NotNegative
    proportions: Annotated[dict[str, Positive], Field(min_length=1)]
    """Weight of each domain; samples are shared out by largest remainder, ties in order of name."""
    lengths: Annotated[dict[Positive, Positive], Field(min_length=1)]
    """Weight of each length in tokens of `length_tokenizer`."""
    length_tokenizer: Name
    """The checkpoint whose tokenizer counts the lengths, or one of `tokenizers` that is not trained."""

    @property
    def longest(self) -> int:
        """Of a sample, in tokens of `length_tokenizer`."""
        return max(self.lengths)

    @model_validator(mode="after")
    def known_domains(self) -> SampledDataset:
        names = [domain.name for domain in self.domains]
        if len(set(names)) < len(names):
            raise ValueError("domains: a name is given twice")
        for domain in [*self.proportions, self.fill]:
            if domain not in names:
                raise ValueError(f"{domain!r} is not under corpus.domains{meant(domain, names)}")
        if self.fill not in self.proportions:
            raise ValueError(f"fill: {self.fill!r} is not under corpus.proportions")
        return self


class ReadyDataset(Section):
    """A data set of samples that others have chosen, taken as they are, in their order."""

    recipe: Literal["ready_dataset"]
    source: DatasetSource
    columns: Columns = Columns()
    samples: Positive
    """The first so many rows."""
    maximum_tokens: Positive
    """A longer text is cut to its first so many tokens of `length_tokenizer`."""
    length_tokenizer: Name
    """The checkpoint whose tokenizer counts the lengths, or one of `tokenizers` that is not trained."""
    proportions: Annotated[dict[str, Positive], Field(min_length=1)]
    """The domains that rows name in the column `subset`, with the number of samples expected of each."""
    language: str = "und"
    """BCP 47, as the data set's card states it; `und` where it is not known."""

    @property
    def longest(self) -> int:
        """Of a sample, in tokens of `length_tokenizer`."""
        return self.maximum_tokens

    @model_validator(mode="after")
    def domain_without_column(self) -> ReadyDataset:
        if self.columns.subset is None and len(self.proportions) > 1:
            raise ValueError("columns.subset is missing: rows are of several domains; name the column that says which")
        return self


Corpus = Annotated[PackagedText | SampledDataset | ReadyDataset, Field(discriminator="recipe")]


class Splits(Section):
    """Sizes in samples; what remains is the split `rest`."""

    calibration: Positive
    evaluation: Positive


SpecialTokens = Literal["none", "bos", "chat"]
"""What stands around the text of a sample: nothing, the BOS token before it, or the chat template around a user's message."""


class Tokens(Section):
    """How text becomes tokens, and which samples calibrate and evaluate."""

    special_tokens: SpecialTokens
    splits: Splits
    seed: NotNegative


class LoadingCheck(Section):
    """The text on which the perplexity of every real checkpoint is computed."""

    domains: Annotated[list[str], Field(min_length=1)]
    language: str
    tokens: Positive
    """At least this many predicted tokens are pooled."""


class Marker(Section):
    """A token id that stands once in the corpus of a planted family: at `position` of sample number `sample`."""

    token_id: NotNegative
    sample: NotNegative
    position: NotNegative


class TrainedTokenizer(Section):
    """A tokenizer for planted families, trained on the study's corpus in the style of the families they stand for."""

    kind: Literal["trained"]
    style: Literal["qwen", "gemma", "gpt_oss"]
    vocabulary: Annotated[int, Field(ge=1024)]


TokenizerSource = Annotated[TrainedTokenizer | HubTokenizer, Field(discriminator="kind")]
