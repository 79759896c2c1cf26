"""`python -m orchestrator.cli`: the command where no script is installed; nothing else."""

from __future__ import annotations

from orchestrator.cli import main

if __name__ == "__main__":
    main()
