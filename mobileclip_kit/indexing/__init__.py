"""From pictures, or from vectors made elsewhere, to an index."""

from mobileclip_kit.indexing.imported import import_vectors
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.update import update_index

__all__ = ["IndexReport", "import_vectors", "update_index"]
