//! Made-up facts, and what the checks find in them.
