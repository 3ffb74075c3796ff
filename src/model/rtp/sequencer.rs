//! Puts the packets of an RTP stream back in order, within a bounded window, and says which come twice or too late.
//!
//! One sender is followed at a time, by its SSRC. What another sends is kept apart: it takes over when the first has been
//! silent for [`Bounds::wait`], with everything kept, and is refused when the first goes on. So a sender that starts anew is
//! followed without a loss, and two at once don't mix. A jump of the sequence, which is a restart too, needs two packets that
//! agree (RFC 3550 appendix A.1).

use std::collections::VecDeque;
use std::time::Duration;

/// How long a packet that came early waits for those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets from the one that is missed to the newest, at most.
    pub span: u16,
    /// Time since the gap was seen.
    pub wait: Duration,
    /// Bytes that wait, at most.
    pub bytes: usize,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: to be passed on at once, then whatever [`Sequencer::ready`] has.
    Next,
    /// To be kept with [`Sequencer::keep`]; then [`Sequencer::ready`] is to be asked.
    Keep(Place),
    /// It has come before.
    Duplicate,
    /// Those behind it have been passed on already.
    Late,
}

/// Where a packet is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this place of the sequence.
    Window(u64),
    /// With what may become a new run.
    Candidate {
        /// Its sender.
        ssrc: u32,
        /// Its sequence number.
        sequence: u16,
    },
}

/// What was counted; nothing ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came behind later ones and were put back in order.
    pub reordered: u64,
    /// Packets that did not come in time; those that came too late are among them.
    pub missing: u64,
    /// Packets of a sender that did not take over, which were dropped again.
    pub other_sender: u64,
    /// New runs after the first: another SSRC, or a sequence that began anew.
    pub restarts: u64,
}

/// A forward jump of so many is a restart, not a loss (RFC 3550 appendix A.1).
const DROPOUT: i32 = 3000;
/// So far behind, a packet is still known to be late or a duplicate.
const MEMORY: usize = 1024;

/// The order of one stream. `T` is a packet with whatever its owner wants back.
#[derive(Debug)]
pub struct Sequencer<T> {
    bounds: Bounds,
    run: Option<Run<T>>,
    candidate: Option<Candidate<T>>,
    ready: VecDeque<T>,
    bytes: usize,
    counts: Counts,
}

#[derive(Debug)]
struct Run<T> {
    ssrc: u32,
    /// The sequence number that is due, counted on past its wraps.
    next: u64,
    /// What waits; the first place is that of `next`, and empty.
    window: VecDeque<Option<Kept<T>>>,
    held: usize,
    /// By sequence number modulo [`MEMORY`]: whether it came.
    seen: Vec<u64>,
    /// When it was last heard.
    last: Duration,
}

#[derive(Debug)]
struct Kept<T> {
    packet: T,
    bytes: usize,
    at: Duration,
}

/// What may become the next run.
#[derive(Debug)]
struct Candidate<T> {
    ssrc: u32,
    first: u16,
    kept: Vec<(u16, Kept<T>)>,
}

impl<T> Sequencer<T> {
    /// Of a stream that has not begun.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Sequencer {
            bounds,
            run: None,
            candidate: None,
            ready: VecDeque::new(),
            bytes: 0,
            counts: Counts::default(),
        }
    }

    /// From now on these bounds hold.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Decides on a packet.
    pub fn offer(&mut self, ssrc: u32, sequence: u16, now: Duration) -> Verdict {
        let wait = self.bounds.wait;
        let run = self.run.get_or_insert_with(|| Run::new(ssrc, sequence, now));
        if run.ssrc != ssrc {
            return self.offer_candidate(ssrc, sequence);
        }
        let ahead = i32::from(sequence.wrapping_sub(run.next as u16).cast_signed());
        let silent = now.saturating_sub(run.last) > wait;
        let verdict = match ahead {
            0 => Verdict::Next,
            1..DROPOUT => {
                let place = run.next + u64::from(ahead.unsigned_abs());
                if run.has(place) { Verdict::Duplicate } else { Verdict::Keep(Place::Window(place)) }
            }
            // The network does not take so long: the sender has begun anew, a little before where it was.
            ..0 if silent => return self.offer_candidate(ssrc, sequence),
            ..0 if ahead >= -(MEMORY as i32) => {
                let seen = run.was_seen(run.next - u64::from(ahead.unsigned_abs()));
                if seen { Verdict::Duplicate } else { Verdict::Late }
            }
            _ => return self.offer_candidate(ssrc, sequence),
        };
        run.last = now;
        self.drop_candidate();
        if verdict == Verdict::Next
            && let Some(run) = &mut self.run
        {
            self.counts.reordered += u64::from(run.held > 0);
            run.window.pop_front();
            run.step(true);
            self.release();
        }
        verdict
    }

    /// Keeps a packet where [`Sequencer::offer`] said.
    pub fn keep(&mut self, place: Place, packet: T, bytes: usize, now: Duration) {
        let kept = Kept { packet, bytes, at: now };
        self.bytes += bytes;
        match place {
            Place::Window(place) => {
                self.give_up_before((place + 1).saturating_sub(u64::from(self.bounds.span)));
                let Some(run) = &mut self.run else { return };
                // It may have been the last that those before it waited for.
                let behind = usize::try_from(place.saturating_sub(run.next)).unwrap_or(usize::MAX);
                self.counts.reordered += u64::from(run.window.len() > behind + 1);
                if run.window.len() <= behind {
                    run.window.resize_with(behind + 1, || None);
                }
                run.window[behind] = Some(kept);
                run.held += 1;
                self.release();
            }
            Place::Candidate { ssrc, sequence } => {
                let candidate =
                    self.candidate.get_or_insert(Candidate { ssrc, first: sequence, kept: Vec::new() });
                candidate.kept.push((sequence, kept));
                let jump = self.run.as_ref().is_some_and(|run| run.ssrc == ssrc);
                let enough = if jump { 2 } else { usize::from(self.bounds.span) };
                if candidate.kept.len() >= enough {
                    self.take_over(now);
                }
            }
        }
        while self.bytes > self.bounds.bytes {
            if !self.give_up_gap() {
                self.drop_candidate();
                break;
            }
        }
    }

    /// The next packet that may be passed on.
    pub fn ready(&mut self) -> Option<T> {
        self.ready.pop_front()
    }

    /// When [`Sequencer::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let run = self.run.as_ref()?;
        let gap = run.gap_since().map(|since| since + self.bounds.wait);
        let candidate = self.candidate.as_ref().map(|_| run.last + self.bounds.wait);
        gap.into_iter().chain(candidate).min()
    }

    /// Gives up gaps that have been waited for long enough, and follows a new sender where the old one is silent.
    pub fn expire(&mut self, now: Duration) {
        let wait = self.bounds.wait;
        while self.run.as_ref().and_then(Run::gap_since).is_some_and(|since| since + wait <= now) {
            self.give_up_gap();
        }
        if self.candidate.is_some() && self.run.as_ref().is_some_and(|run| run.last + wait <= now) {
            self.take_over(now);
        }
    }

    /// Passes on everything that waits.
    pub fn flush(&mut self) {
        while self.give_up_gap() {}
        self.drop_candidate();
    }

    /// Whether `sequence` is missed: it did not come, and later ones did.
    #[must_use]
    pub fn misses(&self, sequence: u16) -> bool {
        let Some(run) = &self.run else { return false };
        let ahead = usize::from(sequence.wrapping_sub(run.next as u16));
        ahead + 1 < run.window.len() && run.window[ahead].is_none()
    }

    /// Whether anything is missed.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.held > 0)
    }

    /// Packets that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        let candidates = self.candidate.as_ref().map_or(0, |candidate| candidate.kept.len());
        self.run.as_ref().map_or(0, |run| run.held) + candidates + self.ready.len()
    }

    /// The sender that is followed.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.run.as_ref().map(|run| run.ssrc)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn offer_candidate(&mut self, ssrc: u32, sequence: u16) -> Verdict {
        let span = self.bounds.span;
        let near = |candidate: &Candidate<T>| {
            let apart = sequence.wrapping_sub(candidate.first).cast_signed().unsigned_abs();
            candidate.ssrc == ssrc && apart < span
        };
        match &self.candidate {
            Some(candidate) if near(candidate) => {
                if candidate.kept.iter().any(|(kept, _)| *kept == sequence) {
                    return Verdict::Duplicate;
                }
            }
            _ => self.drop_candidate(),
        }
        Verdict::Keep(Place::Candidate { ssrc, sequence })
    }

    fn drop_candidate(&mut self) {
        let Some(candidate) = self.candidate.take() else { return };
        self.counts.other_sender += candidate.kept.len() as u64;
        self.bytes -= candidate.kept.iter().map(|(_, kept)| kept.bytes).sum::<usize>();
    }

    /// The candidate becomes the run; what the old one holds goes before it.
    fn take_over(&mut self, now: Duration) {
        let Some(mut candidate) = self.candidate.take() else { return };
        while self.give_up_gap() {}
        let first = candidate.first;
        candidate.kept.sort_by_key(|(sequence, _)| sequence.wrapping_sub(first).cast_signed());
        let Some((oldest, _)) = candidate.kept.first() else { return };
        let mut run = Run::new(candidate.ssrc, *oldest, now);
        for (sequence, kept) in candidate.kept {
            let behind = usize::from(sequence.wrapping_sub(run.next as u16));
            run.window.resize_with(behind + 1, || None);
            run.window[behind] = Some(kept);
            run.held += 1;
        }
        self.run = Some(run);
        self.counts.restarts += 1;
        self.release();
    }

    /// Gives up what is missed before `place`.
    fn give_up_before(&mut self, place: u64) {
        while self.run.as_ref().is_some_and(|run| run.next < place) {
            if !self.give_up_gap() {
                // Nothing waits: the places up to there are all empty.
                let Some(run) = &mut self.run else { return };
                while run.next < place {
                    run.step(false);
                    self.counts.missing += 1;
                }
            }
        }
    }

    /// Gives up the packets that are missed before the first that waits, and passes that and those behind it on; whether
    /// there was any.
    fn give_up_gap(&mut self) -> bool {
        let Some(run) = &mut self.run else { return false };
        if run.held == 0 {
            return false;
        }
        while run.window.front().is_some_and(Option::is_none) {
            run.window.pop_front();
            run.step(false);
            self.counts.missing += 1;
        }
        self.release();
        true
    }

    /// Passes on what waits for nothing.
    fn release(&mut self) {
        let Some(run) = &mut self.run else { return };
        while let Some(Some(_)) = run.window.front() {
            let Some(Some(kept)) = run.window.pop_front() else { return };
            run.step(true);
            run.held -= 1;
            self.bytes -= kept.bytes;
            self.ready.push_back(kept.packet);
        }
        if run.held == 0 {
            run.window.clear();
        }
    }
}

impl<T> Run<T> {
    fn new(ssrc: u32, sequence: u16, now: Duration) -> Self {
        // Far from zero, so that places before the first have a number.
        let next = (1 << 32) + u64::from(sequence);
        let seen = vec![0; MEMORY / 64];
        Run { ssrc, next, window: VecDeque::new(), held: 0, seen, last: now }
    }

    /// The packet that was due is dealt with.
    fn step(&mut self, came: bool) {
        let bit = self.next as usize % MEMORY;
        let word = &mut self.seen[bit / 64];
        *word = *word & !(1 << (bit % 64)) | u64::from(came) << (bit % 64);
        self.next += 1;
    }

    fn was_seen(&self, place: u64) -> bool {
        let bit = place as usize % MEMORY;
        self.seen[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Whether `place`, which is not before `next`, is filled.
    fn has(&self, place: u64) -> bool {
        let behind = usize::try_from(place - self.next).unwrap_or(usize::MAX);
        self.window.get(behind).is_some_and(Option::is_some)
    }

    /// Since when something waits for a packet that is missed.
    fn gap_since(&self) -> Option<Duration> {
        if self.held == 0 {
            return None;
        }
        self.window.iter().flatten().map(|kept| kept.at).min()
    }
}

#[cfg(test)]
mod tests;
