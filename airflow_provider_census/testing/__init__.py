"""
For tests: the contract every destination keeps (:mod:`~.contract`), and fixtures for your own DAGs (:mod:`~.plugin`).
"""

import pytest

# Before they are imported, so that a failing assertion of theirs shows its values.
pytest.register_assert_rewrite(f"{__name__}.cases", f"{__name__}.bench")
