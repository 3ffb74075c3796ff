//! Subscriptions survive what happens to interfaces.
