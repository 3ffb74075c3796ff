//! Handshakes, Host, Origin, and every refusal.
