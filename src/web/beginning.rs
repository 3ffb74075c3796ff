//! What a reader waits for before it begins: a picture, or the first datagram, which says what the stream carries.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::hub::cursor::ReplayBounds;
use crate::hub::log::Log;
use crate::hub::stream::Stream;
use crate::hub::subscription::{Encoding, Subscriber, Subscription};
use crate::model::ts::Start;

/// How long `start=keyframe` waits for one; then the stream begins as it is.
const PICTURE: Duration = Duration::from_secs(10);
/// How long the head of an HTTP answer waits for the first datagram of a stream that has none.
const FIRST: Duration = Duration::from_millis(250);

/// Wakes whoever waits when something came.
#[derive(Default)]
struct Watch(Notify);

impl Subscriber for Watch {
    fn flush(&self, _: &Log, _: usize) {
        self.0.notify_one();
    }

    fn fail(&self) {}

    fn evicting(&self, _: &Log, _: usize, _: u64) {}
}

/// The last picture that needs no other, or the next one; `None` when none comes in time, or the stream carries none. The
/// caller subscribes without waiting in between.
pub async fn picture(stream: &Rc<Stream>, bounds: ReplayBounds) -> Option<Start> {
    let mut found = stream.keyframe(bounds);
    if found.is_none() {
        until(stream, PICTURE, || {
            found = stream.keyframe(bounds);
            found.is_some() || stream.carries_something_else()
        })
        .await;
    }
    found
}

/// Whether the stream carries MPEG-TS, as far as can be said soon.
pub async fn carries_ts(stream: &Rc<Stream>) -> bool {
    let mut known = stream.carries_ts();
    if known.is_none() {
        until(stream, FIRST, || {
            known = stream.carries_ts();
            known.is_some()
        })
        .await;
    }
    known == Some(true)
}

/// Asks each time that something came, until it is `enough` or the time is over.
async fn until(stream: &Rc<Stream>, time: Duration, mut enough: impl FnMut() -> bool) {
    let watch = Rc::new(Watch::default());
    // Being subscribed keeps the stream joined.
    let _subscription = Subscription::new(Rc::clone(stream), Encoding::Raw, Rc::clone(&watch) as _, 0, None);
    let waiting = async {
        while !enough() {
            watch.0.notified().await;
        }
    };
    // Without it the caller goes on all the same.
    let _ = tokio::time::timeout(time, waiting).await;
}
