//! Panics end the session that they happen in, and nothing else.
//!
//! A panic is always a mistake of ours. It is counted, logged with the session's own span, and the session's client is
//! told with 1011.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(pub String);

/// Runs a task to its end or to its panic.
///
/// What the task leaves behind is looked at afterwards only to close it: nothing that a panic interrupts is shared with
/// other sessions but logs and counters, which are whole between two statements.
///
/// # Errors
/// [`Panicked`].
pub async fn contain<T>(task: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| Panicked::from(&*panic))
}

/// The same for what does not wait.
///
/// # Errors
/// [`Panicked`].
pub fn contain_now<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked::from(&*panic))
}

impl From<&(dyn Any + Send)> for Panicked {
    fn from(panic: &(dyn Any + Send)) -> Self {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        Panicked(text.unwrap_or("a panic without words").to_owned())
    }
}

/// For tests of the above, in debug builds only: panics where a message says so and the environment allows it.
pub fn provoke(message: &str) {
    let asked = cfg!(debug_assertions) && message == "wscast: panic";
    assert!(!asked || std::env::var_os("WSCAST_TEST_PANIC").is_none(), "provoked by a message");
}
