"""The serve command: a page to draw a digit on, read live by a trained model, on Ray Serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import TrustCode
from tune_mnist.spec.errors import require

DESCRIPTION = """Serve a page to draw a digit on with mouse or finger, and POST /predict for picture files.

On this machine alone unless --host says otherwise. Ctrl-C ends it."""


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """What is served, and where."""

    model: Path | None = None
    """Folder of a trained model, as retrain writes it; the one that comes with the package if not given."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every network this machine is on."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""
    trust_code: TrustCode = False

    def __post_init__(self) -> None:
        require(0 <= self.port < 2**16, "0 <= port < 65536", self.port, "change --port")


def _serve(args: ServeArgs) -> int:
    from tune_mnist.deploy.serving import serve_for_ever

    return serve_for_ever(args.model, args.host, args.port, args.trust_code)


main = command("serve", ServeArgs, _serve, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
