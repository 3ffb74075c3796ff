//! A real ffmpeg stream.
