//! Start, stop, signals and configuration.
