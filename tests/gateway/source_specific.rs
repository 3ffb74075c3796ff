//! Source-specific memberships on the wire and in the switch.
