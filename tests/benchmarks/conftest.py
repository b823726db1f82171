from __future__ import annotations

import sys

# The benchmarks read /proc and pin processes to cores, as only Linux lets them.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
