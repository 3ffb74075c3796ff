//! What a program asks for, by a group or by the name that the gateway's configuration gives a stream.

use crate::model::control::{Action, Join, JoinNamed, OpenSend, OpenSendNamed, Resume};
use crate::model::group::Group;
use crate::model::request::Replay;

/// What a subscription asks for.
#[derive(Clone, Debug)]
pub(super) enum WantedStream {
    Group(Join),
    Named(JoinNamed),
}

/// What a sender asks for.
#[derive(Clone, Debug)]
pub(super) enum WantedSender {
    Group(OpenSend),
    Named(OpenSendNamed),
}

impl WantedStream {
    /// The group, where it was asked for by that.
    pub(super) fn group(&self) -> Option<Group> {
        match self {
            WantedStream::Group(join) => Some(join.group),
            WantedStream::Named(_) => None,
        }
    }

    /// What is said to the gateway.
    pub(super) fn action(&self) -> Action {
        match self.clone() {
            WantedStream::Group(join) => Action::Join(Box::new(join)),
            WantedStream::Named(join) => Action::JoinNamed(Box::new(join)),
        }
    }

    /// The same after a break: what came before it is not wanted a second time.
    pub(super) fn again(&self, after: Option<Resume>) -> Action {
        match self.clone() {
            WantedStream::Group(join) => {
                Action::Join(Box::new(Join { replay: Replay::None, resume: after, ..join }))
            }
            WantedStream::Named(join) => {
                Action::JoinNamed(Box::new(JoinNamed { replay: Replay::None, resume: after, ..join }))
            }
        }
    }
}

impl WantedSender {
    /// The group, where it was asked for by that.
    pub(super) fn group(&self) -> Option<Group> {
        match self {
            WantedSender::Group(open) => Some(open.group),
            WantedSender::Named(_) => None,
        }
    }

    /// What is said to the gateway.
    pub(super) fn action(&self) -> Action {
        match self.clone() {
            WantedSender::Group(open) => Action::OpenSend(open),
            WantedSender::Named(open) => Action::OpenSendNamed(open),
        }
    }
}
