//! Whether others used the machine while something was measured.

/// The most that others may take of the processors' time. The kernel counts in hundredths of a
/// second, so less than this would be noise of the counting.
const TOLERATED: f64 = 0.12;

/// Fewer ticks than this tell nothing.
const TELLING: u64 = 10;

/// The processors' clocks, all in ticks.
pub struct Quiet {
    busy: u64,
    idle: u64,
    own: u64,
}

impl Quiet {
    /// Starts to watch, where the system tells.
    pub fn watch() -> Option<Self> {
        system::now()
    }

    /// Whether nobody else has taken much of the processors since then.
    pub fn held(&self) -> bool {
        let Some(now) = system::now() else { return true };
        let (busy, idle) = (now.busy - self.busy, now.idle - self.idle);
        let others = busy.saturating_sub(now.own - self.own);
        busy + idle < TELLING || (others as f64) < TOLERATED * (busy + idle) as f64
    }
}

#[cfg(target_os = "linux")]
mod system {
    use procfs::process::{Process, all_processes};
    use procfs::{CurrentSI, KernelStats};

    use super::Quiet;

    pub(super) fn now() -> Option<Quiet> {
        let all = KernelStats::current().ok()?.total;
        // A server that this process has started works for it.
        let this = Process::myself().ok()?.pid();
        let own = all_processes().ok()?.filter_map(|process| process.ok()?.stat().ok());
        let own = own.filter(|stat| stat.pid == this || stat.ppid == this);
        let own = own.map(|stat| stat.utime + stat.stime).sum();
        let kernel = all.system + all.irq.unwrap_or(0) + all.softirq.unwrap_or(0);
        Some(Quiet {
            // What the hypervisor gave to another guest was taken by others, too. Processes that are
            // nice take only what would be idle.
            busy: all.user + kernel + all.steal.unwrap_or(0),
            idle: all.idle + all.nice + all.iowait.unwrap_or(0),
            own,
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn now() -> Option<super::Quiet> {
        None
    }
}
