"""The rounds in which a grid's seeds were added: what each saw and asked for, as recorded and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tune_mnist.spec.study import StudySpec

DECIDED = 3  # with no more cells than these in contention, the top three are decided


@dataclass(frozen=True)
class Round:
    """A look at a grid's cells, and the trainings that it asked for."""

    seeds: int
    """How many each cell in contention had."""
    cells: int
    in_contention: int
    """How many cells were among the three best or not told from the third."""
    added: tuple[str, ...]
    """The keys of the trainings that were to be run next."""

    @property
    def decided(self) -> bool:
        """Whether nothing but the three best was in contention."""
        return self.in_contention <= DECIDED


def in_words(spec: StudySpec, rounds: Sequence[Round]) -> str:
    """What was done for a spec whose seeds are added, in a few sentences."""
    first, most = len(spec.trainings()), len(spec.trainings(spec.most_seeds))
    asked = first + sum(len(each.added) for each in rounds)
    text = f"--seeds {spec.seeds} adds seeds to the cells that may still change the top three: "
    if not rounds:
        return f"{text}the first {spec.first_seeds} of each are not complete yet."
    steps = [
        f"with {each.seeds} seeds {each.in_contention} of {each.cells} cells were in contention" for each in rounds
    ]
    last = rounds[-1]
    end = "the top three are decided" if last.decided else "the top three are undecided at the most seeds"
    if not last.decided and last.seeds < spec.most_seeds:
        end = "not decided yet"
    return f"{text}{'; '.join(steps)}: {end}. {asked} trainings were asked for, of {most} with {spec.most_seeds} each."
