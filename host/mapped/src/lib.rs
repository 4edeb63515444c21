//! Loads precompiled plugin code from the cache; the one crate with unsafe code.
