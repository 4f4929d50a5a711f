"""From images, from vectors made elsewhere, or from other indexes, to an index."""

from mobileclip_kit.indexing.imported import import_vectors
from mobileclip_kit.indexing.merging import merge_indexes
from mobileclip_kit.indexing.report import IndexReport
from mobileclip_kit.indexing.update import update_index

__all__ = ["IndexReport", "import_vectors", "merge_indexes", "update_index"]
