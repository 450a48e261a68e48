"""Clean-label poison for SSM networks of practice: by hand, by gradient matching, and judged.

What to run is in `catalogue` (the experiments), `settings` (what they consist of) and `arms`;
`runner` runs it, `verdict` says what it shows.
"""

from __future__ import annotations

from ssmbias.poison.runner import run_arms

__all__ = ["run_arms"]
