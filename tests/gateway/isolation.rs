//! No stream hears what belongs to another.
