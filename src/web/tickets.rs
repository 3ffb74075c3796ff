//! Tickets: single-use secrets that stand for a token where only a URL can be given.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::model::token::{Token, TokenDigest};
use crate::web::access::Identity;

/// How long a ticket may be used.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// Bytes of chance in a ticket.
const BYTES: usize = 16;
/// Tickets that have not been used yet.
const TICKETS: usize = 4096;
/// Those of one principal.
const PER_PRINCIPAL: usize = 1024;

/// The tickets that have not been used yet, over all shards, oldest first.
#[derive(Debug, Default)]
pub struct Tickets {
    unused: Mutex<VecDeque<Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    digest: TokenDigest,
    identity: Identity,
    until: Instant,
}

impl Tickets {
    /// A ticket for `identity`; `None` where there are as many as there may be, or no chance to be had.
    #[must_use]
    pub fn issue(&self, identity: Identity, now: Instant) -> Option<Token> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        while unused.front().is_some_and(|oldest| oldest.until <= now) {
            unused.pop_front();
        }
        let own = unused.iter().filter(|one| one.identity.principal.name == identity.principal.name).count();
        if unused.len() >= TICKETS || own >= PER_PRINCIPAL {
            return None;
        }
        let digest = TokenDigest::of(text.as_bytes());
        unused.push_back(Ticket { digest, identity, until: now + LIFETIME });
        Some(Token(text))
    }

    /// Takes a ticket back; whose it was, if it was one.
    #[must_use]
    pub fn redeem(&self, text: &str, now: Instant) -> Option<Identity> {
        let digest = TokenDigest::of(text.as_bytes());
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = None;
        for (at, ticket) in unused.iter().enumerate() {
            if bool::from(ticket.digest.matches(&digest)) {
                place = Some(at);
            }
        }
        let ticket = unused.remove(place?)?;
        (now < ticket.until).then_some(ticket.identity)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::config::{Config, Overrides};
    use crate::web::access::Access;

    #[test]
    fn a_ticket_is_good_once_and_not_for_long() {
        let access = Access::load(&Config::build(None, Overrides::default()).unwrap()).unwrap();
        let (tickets, now) = (Tickets::default(), Instant::now());
        let identity = access.anonymous().unwrap();
        let ticket = tickets.issue(identity.clone(), now).unwrap();
        assert_eq!(ticket.0.len(), 22);
        assert!(tickets.redeem("another", now).is_none());
        let whose = tickets.redeem(&ticket.0, now).unwrap();
        assert!(Arc::ptr_eq(&whose.principal, &identity.principal));
        assert!(tickets.redeem(&ticket.0, now).is_none(), "once");
        let ticket = tickets.issue(identity.clone(), now).unwrap();
        assert!(tickets.redeem(&ticket.0, now + LIFETIME).is_none(), "late");
        let issued = (0..2000).filter(|_| tickets.issue(identity.clone(), now).is_some()).count();
        assert_eq!(issued, PER_PRINCIPAL);
        assert!(tickets.issue(identity, now + LIFETIME).is_some(), "the old ones are gone");
    }
}
