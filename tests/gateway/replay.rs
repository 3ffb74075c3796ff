//! Late joiners and the overflow policies.
