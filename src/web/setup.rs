//! What the gateway works by until a reload puts another in its place: the configuration, with all that it names read.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::config::Config;
use crate::web::access::Access;
use crate::web::asset::Asset;
use crate::web::gate::Gate;

/// A configuration that has been read and checked whole: taking it over can't fail.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Who may ask.
    pub gate: Gate,
    /// Who may come in.
    pub access: Arc<Access>,
    /// What `/player.js` is.
    pub player: Option<Asset>,
    /// Bound of memory in bytes, where there is one.
    pub memory_bound: Option<u64>,
}

/// The configuration as it was when this was asked for.
#[derive(Clone, Debug)]
pub struct ConfigNow(Rc<Setup>);

impl ConfigNow {
    /// That of `setup`.
    #[must_use]
    pub fn of(setup: Rc<Setup>) -> Self {
        ConfigNow(setup)
    }
}

impl Deref for ConfigNow {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0.config
    }
}
