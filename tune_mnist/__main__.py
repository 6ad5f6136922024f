"""`tune-mnist NAME` and `python -m tune_mnist NAME`: the commands as subcommands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from tune_mnist.shell.cli import BAD_INPUT, leave

COMMANDS = {
    "grid": "train, analyse and draw every cell of a grid",
    "search": "search for the best training with Optuna",
    "status": "say where a study stands, running or not",
    "watch": "open a page that shows a study's curves as they grow",
    "analysis": "write a study's tables and figures again",
    "report": "write a study's page, report.html, again",
    "claims": "judge the report's claims by a study",
    "compare": "set two studies side by side",
    "verify": "check a study's every checksum and table",
    "doctor": "say whether this machine or a cluster is ready",
    "retrain": "train the best config on all pictures, test it once, and keep the model",
    "predict": "tell the digits on pictures",
    "serve": "open a page to draw digits on",
    "data": "show the data set's checksums and first pictures",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by the first word with the rest; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return int(importlib.import_module(f"tune_mnist.{words[0]}").main(words[1:]))
    if not words or words[0] in ("-h", "--help"):
        print("usage: tune-mnist COMMAND [--help]\n")
        print("\n".join(f"  {name:<10} {clause}" for name, clause in COMMANDS.items()))
        return 0
    print(f"error: unknown command `{words[0]}`: known are {', '.join(COMMANDS)}", file=sys.stderr)
    return BAD_INPUT


def command() -> NoReturn:
    """`tune-mnist`: `main` on the process's own words, and its end."""
    leave(main())


if __name__ == "__main__":
    command()
