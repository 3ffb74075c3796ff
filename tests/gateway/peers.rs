//! Other programs' WebSocket clients.
