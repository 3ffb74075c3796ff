//! Pure values: parsed once at the edge, printed, compared; no tokio, no I/O, time passed in.

pub mod status;
