//! What the kernel has joined, and time for the tasks to run.

use std::time::{Duration, Instant};

/// Groups of this test and of nothing else on the machine.
pub(super) const NETWORK: [u8; 3] = [239, 77, 213];
/// How long something may take that should happen at once, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which of the groups are joined in this network namespace, by `/proc/net/igmp`.
pub(super) fn memberships() -> Vec<usize> {
    let text = std::fs::read_to_string("/proc/self/net/igmp").unwrap();
    let [a, b, c] = NETWORK;
    let mut joined: Vec<usize> = text
        .lines()
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().next()?, 16).ok())
        .map(u32::to_ne_bytes)
        .filter(|bytes| bytes[..3] == [a, b, c])
        .map(|bytes| usize::from(bytes[3]))
        .collect();
    joined.sort_unstable();
    joined
}

/// Lets the tasks run until `condition` answers.
pub(super) async fn settle(mut condition: impl FnMut() -> Option<()>) {
    let end = Instant::now() + PATIENCE;
    while condition().is_none() {
        assert!(Instant::now() < end, "what was sent has come");
        tokio::task::yield_now().await;
    }
}
