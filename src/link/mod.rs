//! Links to other gateways: groups of one LAN mirrored on another, each datagram once, whatever the topology.
//!
//! ```text
//!            ┌ mirror: one group on one interface ┐
//!  LAN ─────▶ own? storm? who speaks? ─▶ identity  ├─▶ link (log, connection) ─▶ the other gateway
//!  LAN ◀───── emitter of the asker ◀─ seen before? ◀── link, or a neighbour on the same LAN
//!            └────────────────────────────────────┘
//! ```
//!
//! Why no loop can arise, and what can be told apart: `docs/links.md`.

pub mod announcement;
mod answerers;
mod answering;
mod attachment;
mod calling;
mod connection;
mod election;
mod emitters;
mod exchange;
#[allow(clippy::module_inception)] // a link is a link; a second noun would be a synonym
mod link;
pub mod links;
mod mirror;
pub mod neighbour;
mod outgoing;
mod routes;
mod segment;
mod storm;
mod window;

pub use exchange::Rules;
