//! The arithmetic of validity: until when a holder may believe that it holds.
//!
//! All of it is conservative in the same direction. The server's lease began after the request was
//! sent, so counting from the sending is early. The grace is the server's alone. The margin covers
//! clocks whose rates differ by up to 1 %.

use std::ops::Add;
use std::time::Duration;

/// A point on this process's lease clock, in nanoseconds; the clock also runs while the machine is
/// suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// The time from `earlier` to here; zero if there is none.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much earlier, at the earliest the clock's beginning.
    pub(crate) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// This much later. A time beyond the clock's range is the clock's end.
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The least margin, which covers the server's rounding to milliseconds.
const LEAST_MARGIN: Duration = Duration::from_millis(2);

/// What is known here about one lease on the server.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// The server keeps it at least until here, if its clock runs as ours does. Never later than
    /// what this client asked for, whatever a server whose clock was set back answers.
    end: Moment,
    /// Its end if all that was asked for is done, also what is not answered.
    asked: Moment,
    valid_until: Moment,
    grace: Duration,
    /// When that was sent whose answer told the most recent state.
    told: Moment,
}

/// When a request was sent and its answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trip {
    pub(crate) sent: Moment,
    pub(crate) received: Moment,
}

impl Lease {
    /// A lease that was asked for with the length `asked` (with grace), of which the answer says
    /// that `left` is left.
    pub(crate) fn granted(trip: Trip, left: Duration, asked: Duration, grace: Duration) -> Self {
        let left = left.min(asked);
        let end = trip.sent + left;
        let valid_until = validity(trip.sent, left, grace);
        Self { end, asked: end, valid_until, grace, told: trip.sent }
    }

    /// A lease that another process was granted, of which an answer says that `left` is left.
    pub(crate) fn adopted(trip: Trip, left: Duration, grace: Duration) -> Self {
        Self::granted(trip, left, left, grace)
    }

    /// It is asked now to last at least `time` from now on, with grace.
    pub(crate) fn ask_at_least(&mut self, now: Moment, time: Duration) {
        self.asked = self.asked.max(now + time);
    }

    /// It is asked to last `more` than it would have.
    pub(crate) fn ask_to_add(&mut self, more: Duration) {
        self.asked = self.asked.max(self.end) + more;
    }

    /// It was asked to last at least `asked` from now on, with grace.
    pub(crate) fn at_least(&mut self, trip: Trip, left: Duration, asked: Duration) {
        self.learn(trip, left, self.end.max(trip.sent + asked));
    }

    /// It was asked to last `more` than it would have.
    pub(crate) fn added(&mut self, trip: Trip, left: Duration, more: Duration) {
        self.learn(trip, left, self.end + more);
    }

    /// An answer told what is left, without any change.
    pub(crate) fn seen(&mut self, trip: Trip, left: Duration) {
        self.learn(trip, left, self.end);
    }

    fn learn(&mut self, trip: Trip, left: Duration, latest: Moment) {
        let left = left.min(latest.since(trip.sent));
        let valid_until = validity(trip.sent, left, self.grace);
        let is_newer = trip.sent > self.told;
        self.told = self.told.max(trip.sent);
        if is_newer && trip.received + left < self.end {
            // Not even the slowest way back explains it: the server's clock was set forward, or
            // somebody else shortened the lease. The server is right about its own lease.
            self.end = trip.sent + left;
            self.valid_until = valid_until;
        } else {
            // An earlier answer that travelled faster may know more; both are sound. And one that was
            // overtaken tells of a time before the lease was longer.
            self.end = self.end.max(trip.sent + left);
            self.valid_until = self.valid_until.max(valid_until);
        }
    }

    /// From here on the holder must no longer believe that it holds.
    pub(crate) fn valid_until(&self) -> Moment {
        self.valid_until
    }

    /// From here on the server has forgotten the lease, unless its clock was set back: what is not
    /// released by now needs no release any more. An extension counts as done when it is asked for.
    pub(crate) fn over(&self) -> Moment {
        let span = Duration::from_secs(1);
        self.end.max(self.asked) + span
    }
}

/// The margin is taken by what is left, not by the first ttl: an extension to days would outrun it.
fn validity(sent: Moment, left: Duration, grace: Duration) -> Moment {
    let margin = LEAST_MARGIN.max(left / 100);
    sent + left.saturating_sub(grace + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn trip(sent: u64, received: u64) -> Trip {
        Trip { sent: Moment(sent * 1_000_000), received: Moment(received * 1_000_000) }
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn validity_counts_from_the_sending() {
        let lease = Lease::granted(trip(1_000, 1_500), 11_000 * MS, 11_000 * MS, 1_000 * MS);
        assert_eq!(lease.valid_until(), at(1_000 + 10_000 - 110));
    }

    #[test]
    fn a_short_lease_has_the_least_margin() {
        let lease = Lease::granted(trip(0, 1), 11 * MS, 11 * MS, MS);
        assert_eq!(lease.valid_until(), at(8));
    }

    #[test]
    fn a_server_whose_clock_was_set_back_is_not_believed() {
        let mut lease = Lease::granted(trip(0, 1), 3_600_000 * MS, 1_000 * MS, Duration::ZERO);
        assert_eq!(lease.valid_until(), at(990));
        lease.seen(trip(100, 101), 3_600_000 * MS);
        assert!(lease.valid_until() <= at(1_000));
        lease.added(trip(200, 201), 3_600_000 * MS, 500 * MS);
        assert!(lease.valid_until() <= at(1_500));
        lease.at_least(trip(300, 301), 3_600_000 * MS, 2_000 * MS);
        assert!(lease.valid_until() <= at(2_300));
    }

    #[test]
    fn a_server_whose_clock_was_set_forward_is_believed() {
        let mut lease = Lease::granted(trip(0, 1), 10_000 * MS, 10_000 * MS, Duration::ZERO);
        lease.seen(trip(100, 105), 200 * MS);
        assert_eq!(lease.valid_until(), at(100 + 198));
    }

    #[test]
    fn a_slow_answer_takes_nothing_back() {
        let mut lease = Lease::granted(trip(0, 1), 10_000 * MS, 10_000 * MS, Duration::ZERO);
        let before = lease.valid_until();
        // The answer took a second; the lease was looked at after 900 of its 1,000 ms.
        lease.seen(trip(1_000, 2_000), (10_000 - 1_900) * MS);
        assert_eq!(lease.valid_until(), before);
    }

    #[test]
    fn an_answer_that_was_overtaken_takes_nothing_back() {
        let mut lease = Lease::granted(trip(0, 1), 10_000 * MS, 10_000 * MS, Duration::ZERO);
        lease.added(trip(1_000, 1_010), 69_000 * MS, 60_000 * MS);
        let before = lease.valid_until();
        lease.seen(trip(999, 1_020), 9_001 * MS);
        assert_eq!(lease.valid_until(), before);
        // One that is sent later is believed.
        lease.seen(trip(1_030, 1_031), 1_000 * MS);
        assert_eq!(lease.valid_until(), at(1_030 + 990));
    }
}
