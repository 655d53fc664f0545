"""Entry point: `python3 -I DIRECTORY`, where the modules that the role shares with it lie in the same directory."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from proxyctl.cli import main

sys.exit(main())
