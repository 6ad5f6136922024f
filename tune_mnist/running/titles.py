"""What the processes of Ray's workers are called: by what they train."""

from __future__ import annotations

from ray._raylet import setproctitle  # type: ignore[attr-defined]


class Title:
    """This process's title on the dashboard's cluster page, in Ray's own per-process metrics, and in top.

    Ray sets its own at each call of an actor's method, so that it is set anew at each epoch.
    """

    def __init__(self) -> None:
        self.label = ""

    def set(self, label: str | None = None) -> None:
        """Name the process after a label, or after the last one."""
        self.label = self.label if label is None else label
        if self.label:
            setproctitle(f"ray::{self.label}")


title = Title()
