//! The hub and the write path as a state machine: joins, leaves, datagrams, slow clients, resets, reloads and interfaces that come and go
//! in any order. After each step all books balance, clients hold what the books say, and the kernel holds exactly the
//! memberships that the hub has.
//!
//! It runs on the loopback interface with the real hub, real multicast sockets and real client sockets.
#![allow(clippy::unwrap_used)] // a failed one fails its test

mod surroundings;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use world::World;

/// Groups that are joined.
const GROUPS: usize = 3;
/// Sequences of steps; `PROPTEST_CASES` says another number.
const CASES: u32 = 1000;
/// Steps in one of them.
const STEPS: usize = 40;

/// What happens next. Clients are chosen among those there are, and nothing happens where there is none.
#[derive(Clone, Debug)]
enum Step {
    Join { group: usize, overflow: u8, replay: u64 },
    Leave { client: prop::sample::Index },
    Reset { client: prop::sample::Index },
    Send { group: usize, count: u64, size: usize },
    Read { client: prop::sample::Index, bytes: usize },
    ReadAll { client: prop::sample::Index },
    Away { group: usize },
    Back { group: usize },
    Reload { datagrams: usize },
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let client = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0..GROUPS, 0..3_u8, 0..20_u64)
            .prop_map(|(group, overflow, replay)| Step::Join { group, overflow, replay }),
        2 => client().prop_map(|client| Step::Leave { client }),
        1 => client().prop_map(|client| Step::Reset { client }),
        // Up to more than a log holds and a socket takes.
        8 => (0..GROUPS, 1..60_u64, prop_oneof![Just(8_usize), 8..1400_usize, Just(20_000)])
            .prop_map(|(group, count, size)| Step::Send { group, count, size }),
        4 => (client(), 1..100_000_usize).prop_map(|(client, bytes)| Step::Read { client, bytes }),
        2 => client().prop_map(|client| Step::ReadAll { client }),
        1 => (0..GROUPS).prop_map(|group| Step::Away { group }),
        2 => (0..GROUPS).prop_map(|group| Step::Back { group }),
        1 => (16..200_usize).prop_map(|datagrams| Step::Reload { datagrams }),
        2 => Just(Step::Tick),
    ]
}

#[test]
fn books_balance_and_no_membership_leaks_whatever_happens() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut steps_taken = 0;
    let mut seen = world::Seen::default();
    let result = TestRunner::new(config).run_one_by_one(
        &prop::collection::vec(step(), 1..STEPS),
        |steps| {
            steps_taken += steps.len();
            World::live(|mut world| async move {
                for step in steps {
                    world.take(step).await;
                    world.check().await;
                }
                world.end().await
            })
        },
        &mut seen,
    );
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("{cases} cases, {steps_taken} steps: {seen:?}");
    // Otherwise the steps above do not reach what they are meant to.
    assert!(seen.lost > 0 && seen.withheld > 0 && seen.closed > 0 && seen.outages > 0, "{seen:?}");
}

/// Runs cases in this thread, and adds up what was seen in them.
trait OneByOne {
    fn run_one_by_one<S: Strategy>(
        &mut self,
        strategy: &S,
        test: impl FnMut(S::Value) -> world::Seen,
        seen: &mut world::Seen,
    ) -> Result<(), String>;
}

impl OneByOne for TestRunner {
    fn run_one_by_one<S: Strategy>(
        &mut self,
        strategy: &S,
        test: impl FnMut(S::Value) -> world::Seen,
        seen: &mut world::Seen,
    ) -> Result<(), String> {
        let cell = std::cell::RefCell::new((test, seen));
        self.run(strategy, |value| {
            let (test, seen) = &mut *cell.borrow_mut();
            let one = test(value);
            seen.add(&one);
            Ok(())
        })
        .map_err(|error| error.to_string())
    }
}
