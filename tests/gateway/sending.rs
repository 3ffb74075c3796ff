//! Client frames become multicast sends.
