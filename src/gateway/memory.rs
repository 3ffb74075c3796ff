//! The bound of memory that the configuration makes, said at the start, and the watch over what is used of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::hub::depacketizer::Depacketizer;
use crate::hub::pressure::Pressure;
use crate::hub::records::Records;
use crate::hub::settings::log_bounds;
use crate::model::config::Config;
use crate::model::limits::MemoryMark;
use crate::model::quantity::format_size;
use crate::sys::batch::BATCH;
use crate::sys::memory::{self, MemoryGroup};
use crate::web::setup::Setup;
use crate::web::{answers, rest, tls};

/// Memory of a gateway without streams and clients, in bytes, besides its shards' buffers.
const BASE: u64 = 24 << 20;
/// Memory of one client, in bytes, besides the message that it is sending.
const CLIENT: u64 = 16 << 10;
/// Memory of one subscription, in bytes.
const SUBSCRIPTION: u64 = 512;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Looks between two times that free memory is given back, while there is too little.
const GIVE_BACK: u32 = 8;

/// The most memory that streams and clients may take; `None` where a limit that bounds it is lifted.
pub(super) fn bound(config: &Config) -> Option<u64> {
    let limits = &config.limits;
    let (streams, clients, subscriptions) = (limits.streams?, limits.connections?, limits.subscriptions?);
    let logs = u64::from(streams) * stream_memory(config);
    let shards = config.threads.get() as u64;
    let received = (BATCH * 65536) as u64;
    let shared = (rest::POOL + answers::ROOM) as u64;
    let clients = u64::from(clients) * client_memory(config);
    Some(shards * (logs + received) + shared + clients + u64::from(subscriptions) * SUBSCRIPTION + BASE)
}

/// Each stream has a log of payloads, and one of records for clients of `wscast.v1`.
fn stream_memory(config: &Config) -> u64 {
    2 * log_bounds(&config.limits).memory() + Records::memory() + Depacketizer::memory()
}

/// What a client is sending may be put together from fragments: the message so far, and the fragment that is coming in.
/// TLS holds what is encrypted and not yet taken, and has a state of its own.
fn client_memory(config: &Config) -> u64 {
    let secure = config.listen.iter().any(|listener| listener.tls);
    let tls = if secure { tls::UNSENT + tls::CLIENT } else { 0 };
    CLIENT + (2 * config.limits.message_size + tls) as u64
}

/// Says the bound and where it comes from, or that there is none.
pub(super) fn describe(config: &Config, bound: Option<u64>) {
    let (log, client) = (stream_memory(config), client_memory(config));
    let size = |bytes: u64| format_size(usize::try_from(bytes).unwrap_or(usize::MAX));
    match (bound, config.limits.streams, config.limits.connections) {
        (Some(bound), Some(streams), Some(clients)) => {
            let logs = config.threads.get() as u64 * u64::from(streams) * log;
            let base = bound - logs - u64::from(clients) * client;
            info!(
                bytes = bound,
                "memory bound: {streams} streams x {log} x {threads} threads + {clients} clients x {client} + {base} base = {bound}",
                log = size(log),
                threads = config.threads,
                client = size(client),
                base = size(base),
                bound = size(bound),
            );
        }
        _ => warn!(
            "no memory bound: limits are lifted; each stream may take {}, each client {}",
            size(log),
            size(client)
        ),
    }
}

/// From where on memory is short.
#[derive(Debug)]
pub(super) struct Marks(Mutex<Marked>);

#[derive(Clone, Debug, Default)]
struct Marked {
    /// Resident bytes.
    resident: Option<u64>,
    /// What the control group uses.
    group: Option<(MemoryGroup, u64)>,
}

impl Marks {
    /// By the configuration and what the machine has.
    pub(super) fn of(setup: &Setup) -> Arc<Self> {
        Arc::new(Marks(Mutex::new(Marked::of(setup))))
    }

    /// By another configuration.
    pub(super) fn set(&self, setup: &Setup) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Marked::of(setup);
    }

    fn now(&self) -> Marked {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Marked {
    fn of(setup: &Setup) -> Self {
        match setup.config.limits.memory {
            MemoryMark::Off => Marked::default(),
            MemoryMark::Bytes(bytes) => Marked { resident: Some(bytes), group: None },
            MemoryMark::Share(share) => {
                let part = |whole: u64| whole / 100 * u64::from(share);
                let least = setup.memory_bound.into_iter().chain(memory::of_machine()).min();
                let group = MemoryGroup::of_process().map(|group| {
                    let mark = part(group.most);
                    (group, mark)
                });
                Marked { resident: least.map(part), group }
            }
        }
    }
}

/// Looks at what is used for as long as it is polled.
pub(super) async fn watch(pressure: &Pressure, marks: &Marks) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut high = 0_u32;
    loop {
        looks.tick().await;
        look(pressure, &marks.now());
        high = if pressure.is_high() { high + 1 } else { 0 };
        // What was freed since may be all that is too much.
        if high % GIVE_BACK == 1 {
            memory::give_back();
        }
    }
}

fn look(pressure: &Pressure, marked: &Marked) {
    let Some(resident) = memory::resident() else { return };
    let of_process = marked.resident.map(|mark| (resident, mark));
    let of_group = marked.group.as_ref().and_then(|(group, mark)| Some((group.used()?, *mark)));
    let marks: Vec<(u64, u64)> = of_process.into_iter().chain(of_group).collect();
    if pressure.note(resident, &marks) {
        if pressure.is_high() {
            warn!(resident, ?marks, "memory is above its mark: nothing new is begun (--limit memory)");
        } else {
            info!(resident, "memory is below its mark again");
        }
    }
}
