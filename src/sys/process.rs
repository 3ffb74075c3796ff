//! What the kernel says of this process: time, memory, descriptors.

use std::fs;
use std::time::Duration;

/// This process at one moment; what could not be read is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Bytes of memory in use.
    pub resident: u64,
    /// Bytes of address space.
    pub virtual_memory: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// How many there may be.
    pub descriptors_limit: u64,
    /// Threads.
    pub threads: u64,
}

impl Process {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the struct is a whole rlimit, which the kernel fills.
        let limited = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
        Process {
            cpu: clock(libc::CLOCK_PROCESS_CPUTIME_ID),
            resident: field("VmRSS") << 10,
            virtual_memory: field("VmSize") << 10,
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            descriptors_limit: if limited { limit.rlim_cur } else { 0 },
            threads: field("Threads"),
        }
    }
}

/// CPU time of the calling thread.
#[must_use]
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is a whole timespec, which the kernel fills; where it does not, it stays 0.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_descriptors_and_time() {
        let process = Process::now();
        assert!(process.resident > 1 << 16 && process.virtual_memory >= process.resident, "{process:?}");
        assert!(process.descriptors >= 3 && process.threads >= 1, "{process:?}");
        assert!(process.cpu >= thread_cpu() || process.cpu > Duration::ZERO);
    }
}
