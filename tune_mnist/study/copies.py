"""A study brought into a folder, from a bucket or another folder, to be read and written on there."""

from __future__ import annotations

from pathlib import Path

from tune_mnist.spec.errors import require
from tune_mnist.study.files import make_folder, write_atomic
from tune_mnist.study.ownership import refuse_foreign_study
from tune_mnist.study.study import Study

LEFT_BEHIND = ("trainings/**/state-*.pt", "*/checkpoints/*", "ray/**/*", "lock", "**/.*")
"""What only a run that goes on would need."""


def copied(study: Study, folder: Path) -> Study:
    """The study copied into `folder`, without the states from which its trainings could go on.

    Raises:
        UserError: there is no such study, `folder` is the study's own, or holds something that is no study.
    """
    study.describe()
    study.storage.refresh_all()
    require(folder.absolute() != study.folder, "to is another folder than the study's", folder, "change --to")
    refuse_foreign_study(folder)
    left = {path for pattern in LEFT_BEHIND for path in study.folder.glob(pattern)}
    for path in sorted(study.folder.rglob("*")):
        target = folder / path.relative_to(study.folder)
        if path.is_file() and path not in left:
            make_folder(target.parent, parents=True)
            write_atomic(target, path.read_bytes())
    return Study(folder)
