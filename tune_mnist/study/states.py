"""Numbered states of a training in a folder, each file's name sealing its content and whose it is."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tune_mnist.study.files import names_in, write_atomic


def number_of(path: Path) -> int:
    """The epoch or step that the state in a file follows."""
    return int(path.name.split("-")[1])


@dataclass(frozen=True)
class SealedStates:
    """The files STEM-NUMBER-SEAL.pt of a folder, NUMBER being the epoch or step that the state follows.

    The seal is a checksum of the owner and the content: a state that was damaged, or strayed in from another
    training, does not match its name.
    """

    folder: Path
    stem: str
    digits: int
    """How many digits a number has in a name."""
    owner: bytes
    seal: Callable[[bytes, bytes], str]
    """The seal, in hex digits, of a state's content and its owner."""
    durable: bool = True
    """Whether states must outlive the machine."""

    def name(self, number: int, state: bytes) -> str:
        """The name of the file that holds `state`."""
        return f"{self.stem}-{number:0{self.digits}}-{self.seal(state, self.owner)}.pt"

    def paths(self) -> list[Path]:
        """The files, damaged ones included, the newest first."""
        names = fnmatch.filter(names_in(self.folder), f"{self.stem}-{'[0-9]' * self.digits}-*.pt")
        return [self.folder / name for name in sorted(names, reverse=True)]

    def write(self, number: int, state: bytes) -> None:
        """Write one more state; `WriteError` if the disk or the folder refuses."""
        write_atomic(self.folder / self.name(number, state), state, durable=self.durable)

    def intact(self, report: Callable[[Path, str], object]) -> Iterator[tuple[int, bytes]]:
        """The intact states and their numbers, the newest first; `report` is told of each damaged file on the way."""
        for path in self.paths():
            try:
                state = path.read_bytes()
            except FileNotFoundError:  # a killed driver's last worker may still be tidying up
                continue
            if path.name == self.name(number_of(path), state):
                yield number_of(path), state
            else:
                report(path, f"{path.name} does not match its checksum")
