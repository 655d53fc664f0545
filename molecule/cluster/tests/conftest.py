"""The cluster as the tests before left it: they go from one state to the next, in the order of their files."""

import pytest
from cluster_support import Cluster


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster()
