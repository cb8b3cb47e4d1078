//! The state word of a gate, and its transitions as pure functions.
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 0 | [`QLOCK`] | somebody is editing the wait list |
//! | 1 | [`QUEUED`] | the wait list is not empty |
//! | 2 | [`FULL`] | no release can make another waiter's turn come before a called one answers |
//! | 3 | [`CLOSED`] | nobody enters any more |
//! | 4..17 | bypass | how often the head has been overtaken |
//! | 18.. | free | the free permits |

pub(crate) const QLOCK: u64 = 1;
pub(crate) const QUEUED: u64 = 1 << 1;
pub(crate) const FULL: u64 = 1 << 2;
pub(crate) const CLOSED: u64 = 1 << 3;
const BYPASS: u64 = 1 << 4;
pub(crate) const BYPASS_MASK: u64 = (MAX_BUDGET as u64) << 4;
const PERMIT: u64 = 1 << 18;

/// The largest bypass budget: one more would carry into the permits.
pub(crate) const MAX_BUDGET: u16 = (1 << 14) - 1;

/// The most permits a gate has: two of these sums still fit into a `u32`.
pub(crate) const MAX_PERMITS: u32 = (1 << 31) - 1;

/// So many permits, in the word's unit.
#[inline(always)]
pub(crate) const fn permits(n: u32) -> u64 {
    n as u64 * PERMIT
}

/// The free permits.
#[inline(always)]
pub(crate) const fn free(word: u64) -> u32 {
    (word >> 18) as u32
}

/// The word after a newcomer has entered, if it may: it overtakes nobody, or the budget allows it.
#[inline(always)]
pub(crate) const fn enter(word: u64, need: u32, budget: u16) -> Option<u64> {
    if word < permits(need) {
        None
    } else if word & (QUEUED | CLOSED) == 0 {
        Some(word - permits(need))
    } else if word & CLOSED == 0 && word & BYPASS_MASK < budget as u64 * BYPASS {
        Some(word - permits(need) + BYPASS)
    } else {
        None
    }
}

/// The word after somebody has entered through a closed door, which costs the head nothing of its
/// budget.
#[inline(always)]
pub(crate) const fn enter_regardless(word: u64, need: u32) -> Option<u64> {
    if word >= permits(need) && word & CLOSED == 0 { Some(word - permits(need)) } else { None }
}

/// Whether a release that found this word may have made somebody's turn come.
#[inline(always)]
pub(crate) const fn may_call(word: u64) -> bool {
    word & (QUEUED | FULL | QLOCK) == QUEUED
}

/// The word with the head's whole budget spent, if there is a head: the door is shut until it has
/// entered.
#[inline(always)]
pub(crate) const fn shut_door(word: u64, budget: u16) -> u64 {
    if word & QUEUED == 0 { word } else { (word & !BYPASS_MASK) | (budget as u64 * BYPASS) }
}

/// The word when the list is free again: the flags are what the list says.
#[inline(always)]
pub(crate) const fn list_freed(word: u64, queued: bool, full: bool) -> u64 {
    let word = word & !(QLOCK | QUEUED | FULL);
    match (queued, full) {
        (false, _) => word & !BYPASS_MASK,
        (true, false) => word | QUEUED,
        (true, true) => word | QUEUED | FULL,
    }
}

/// The word as a person reads it.
#[cfg(loom)]
pub(crate) fn describe(word: u64) -> String {
    let flags = [(QLOCK, "QLOCK"), (QUEUED, "QUEUED"), (FULL, "FULL"), (CLOSED, "CLOSED")];
    let mut text = format!("{} free", free(word));
    for (_, name) in flags.iter().filter(|(flag, _)| word & flag != 0) {
        text = format!("{text} {name}");
    }
    match (word & BYPASS_MASK) / BYPASS {
        0 => text,
        overtaken => format!("{text} bypass {overtaken}"),
    }
}
