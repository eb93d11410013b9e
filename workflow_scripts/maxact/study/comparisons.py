"""The section about comparisons: which checkpoints are set beside which."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from maxact.study.sections import Name, Section

Group = Annotated[list[Name], Field(min_length=2)]
Groups = dict[Name, Group]


class Comparisons(Section):
    """For each question of the paper, groups of checkpoints by name; those of a group are set beside each other."""

    scaling: Groups = {}
    """One family, from small to large."""
    matched_sizes: Groups = {}
    """Families at about the same size."""
    moe_vs_dense: Groups = {}
    """A dense checkpoint first, then mixtures of experts of its family."""
    base_vs_instruct: Groups = {}
    """A base checkpoint, then the one that was tuned from it."""
    vision_vs_text: Groups = {}
    """A text checkpoint, then the vision-language one of its family."""
    training_stages: Groups = {}
    """One checkpoint along its training, in order."""
    generations: Groups = {}
    """Successive generations of one line, in order."""

    def groups(self) -> dict[str, Groups]:
        """Every question, in the order above."""
        return {question: getattr(self, question) for question in type(self).model_fields}

    def asked(self) -> frozenset[str]:
        """The questions that have a group."""
        return frozenset(question for question, groups in self.groups().items() if groups)
