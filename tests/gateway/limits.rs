//! Each limit, reached and not reached.
