//! Broken WebSocket frames and the close codes they get.
