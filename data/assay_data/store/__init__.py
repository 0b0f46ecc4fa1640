"""The object store: files by key under a URL, and immutable trees of them.

    interface.py   what a store can do
    opening.py     from a URL to a store
    folder.py      a folder of this machine
    s3.py          a bucket of MinIO, or of anything else that speaks S3
    connection.py  where the server is and who we are
    bucket.py      a bucket's objects, what its errors mean, when to try again
    transfer.py    a file up and down, in parts, every byte checked
    many.py        many files at the same time
    trees.py       what a published tree is: its manifest, its digest
    tree_cache.py  trees of a bucket on this machine's disk

A tree is published with `manifest.json` written last: without it the tree is not there, so a reader
never sees half of one. Names that start with `.assay-` are the store's own.
"""

from assay_data.store.folder import FolderStore
from assay_data.store.interface import Store, Wanted
from assay_data.store.opening import local_copy, local_path, open_store
from assay_data.store.trees import MANIFEST

__all__ = ["MANIFEST", "FolderStore", "Store", "Wanted", "local_copy", "local_path", "open_store"]
