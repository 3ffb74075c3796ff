//! What makes two subscriptions share a stream.

use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;

/// What makes two subscriptions share a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Where to join, never `all`.
    pub interface: InterfaceSelector,
    /// What.
    pub group: Group,
    /// From whom.
    pub filter: SourceFilter,
    /// How it comes: a stream whose RTP is taken off is another one than that with it.
    pub transport: Transport,
}
