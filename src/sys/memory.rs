//! What memory the process has: resident, in its control group, on the machine; and giving back what is free.

use std::fs;
use std::path::PathBuf;

/// Resident memory of this process in bytes, without what is shared with files (`/proc/self/statm`).
#[must_use]
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * page())
}

/// Memory of the machine in bytes.
#[must_use]
pub fn of_machine() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The control group of this process (version 2), where it bounds memory.
#[derive(Clone, Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    /// `memory.max`, in bytes.
    pub most: u64,
}

impl MemoryGroup {
    /// `None` without control groups of version 2, or without a bound.
    #[must_use]
    pub fn of_process() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        // In a container the group is often shown as its own root.
        let folder = [PathBuf::from("/sys/fs/cgroup").join(path), PathBuf::from("/sys/fs/cgroup")]
            .into_iter()
            .find(|folder| folder.join("memory.max").exists())?;
        let most = fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()?;
        Some(MemoryGroup { folder, most })
    }

    /// What the group uses in bytes, the kernel's buffers included, without the files that it could let go of.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        let current: u64 =
            fs::read_to_string(self.folder.join("memory.current")).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        let number = |name: &str| {
            stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Some(current.saturating_sub(number("active_file ") + number("inactive_file ")))
    }
}

/// Gives memory that is free back to the kernel: glibc keeps what lies below the last piece in use, so that a process
/// that was large once would seem so for ever. Takes some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and touches nothing but the allocator's own state, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn page() -> u64 {
    // SAFETY: sysconf takes a number and returns one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(page).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_resident() {
        let before = resident().unwrap();
        let block = vec![1_u8; 32 << 20];
        let during = resident().unwrap();
        assert!(during >= before + (24 << 20), "{before} {during} {}", block.len());
        assert!(of_machine().unwrap() > during);
        drop(block);
        give_back();
    }
}
