"""Object stores behind one small Protocol: `base` is the contract, `open_store` the way in."""

from syncd.store.base import ObjectInfo, Store
from syncd.store.target import open_store
from syncd.store.wrap import MeteredStore, PrefixStore, Usage, prefixed

__all__ = ["MeteredStore", "ObjectInfo", "PrefixStore", "Store", "Usage", "open_store", "prefixed"]
