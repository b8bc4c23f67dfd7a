"""One cluster for all tests of a worker; a namespace of its own for each test."""

from __future__ import annotations

import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, Namespace, find_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of real programs, or one that is marked as a lab; skipped when there is neither."""
    directory = Path(tempfile.mkdtemp(prefix="codeblue-kube-"))
    try:
        with find_cluster(directory) as found:
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    made = cluster.namespace(f"codeblue-{uuid.uuid4().hex[:8]}")
    yield made
    made.remove()
