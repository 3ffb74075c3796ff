//! Many sends with few system calls, where the kernel lends an io_uring (Linux 6.1 with `DEFER_TASKRUN`; containers often
//! forbid it).
//!
//! It is a batch of ordinary non-blocking sends, nothing more: every one has completed when the call returns.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};

/// Sends handed over in one system call at most.
const ENTRIES: u32 = 512;
/// Nobody is waited for, and nobody signalled.
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// One send to make.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// What to send; at most 2 GiB.
    pub bytes: &'a [u8],
}

/// One send of several parts to make.
#[derive(Clone, Copy, Debug)]
pub struct SendParts<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// What to send, one behind the other; at most 1024 parts.
    pub parts: &'a [IoSlice<'a>],
}

/// A ring of this thread.
pub struct SendRing {
    /// Gone after an error that leaves entries behind which must never be submitted.
    ring: Option<IoUring>,
}

impl SendRing {
    /// Sets a ring up for the calling thread and tries it.
    ///
    /// # Errors
    /// What the kernel says: `EPERM` or `ENOSYS` where it is forbidden, `EINVAL` on kernels before 6.1.
    pub fn open() -> io::Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES)?;
        let mut probe = io_uring::register::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) || !probe.is_supported(opcode::SendMsg::CODE) {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        Ok(SendRing { ring: Some(ring) })
    }

    /// Whether it can still be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ring.is_some()
    }

    /// Makes all `sends`, without waiting for any socket. `results`, of the same length, gets one entry for each: the bytes
    /// taken, or the error number negated; `-EAGAIN` for a full socket and for a send that was not tried.
    pub fn send(&mut self, sends: &[Send<'_>], results: &mut [i32]) {
        results.fill(-libc::EAGAIN);
        for (batch, results) in sends.chunks(ENTRIES as usize).zip(results.chunks_mut(ENTRIES as usize)) {
            let entry = |number: usize| {
                let Send { socket, bytes } = batch[number];
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length).flags(FLAGS).build()
            };
            self.submit(batch.len(), entry, results);
        }
    }

    /// As [`SendRing::send`], of several parts each.
    pub fn send_parts(&mut self, sends: &[SendParts<'_>], results: &mut [i32]) {
        results.fill(-libc::EAGAIN);
        for (batch, results) in sends.chunks(ENTRIES as usize).zip(results.chunks_mut(ENTRIES as usize)) {
            let header = |send: &SendParts<'_>| {
                // SAFETY: all-zero is a valid value of this C struct.
                let mut header = unsafe { std::mem::zeroed::<libc::msghdr>() };
                // An IoSlice has the layout of an iovec, and the kernel only reads what is sent.
                header.msg_iov = send.parts.as_ptr().cast_mut().cast();
                header.msg_iovlen = send.parts.len() as _;
                header
            };
            let headers: Vec<libc::msghdr> = batch.iter().map(header).collect();
            let entry = |number: usize| {
                let socket = types::Fd(batch[number].socket.as_raw_fd());
                if let [part] = batch[number].parts {
                    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                    return opcode::Send::new(socket, part.as_ptr(), length).flags(FLAGS).build();
                }
                opcode::SendMsg::new(socket, &raw const headers[number]).flags(FLAGS.cast_unsigned()).build()
            };
            self.submit(batch.len(), entry, results);
        }
    }

    /// Submits at most a ringful. What the entries point to is borrowed until this returns.
    fn submit(
        &mut self,
        count: usize,
        entry: impl Fn(usize) -> io_uring::squeue::Entry,
        results: &mut [i32],
    ) {
        let Some(ring) = &mut self.ring else { return };
        if !send_batch(ring, count, entry, results) {
            self.ring = None;
        }
    }
}

/// Submits one ringful and reaps all of it; false when the ring must not be used again.
fn send_batch(
    ring: &mut IoUring,
    count: usize,
    entry: impl Fn(usize) -> io_uring::squeue::Entry,
    results: &mut [i32],
) -> bool {
    for number in 0..count {
        let entry = entry(number).user_data(number as u64);
        // SAFETY: the bytes and the socket are borrowed until `send` or `send_parts` returns, as are the headers of the
        // latter, and each entry submitted here is reaped below before that; a ring with entries left behind is dropped
        // without submitting them.
        if unsafe { ring.submission().push(&entry) }.is_err() {
            return false;
        }
    }
    let (mut submitted, mut reaped, mut sound) = (0, 0, true);
    while reaped < submitted || (sound && submitted < count) {
        let want = if sound { count - reaped } else { submitted - reaped };
        match ring.submit_and_wait(want) {
            Ok(more) => submitted += more,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
            // Nothing was submitted by this call; what earlier ones submitted is still waited for.
            Err(_) => sound = false,
        }
        for completion in ring.completion() {
            if let Some(result) =
                results.get_mut(usize::try_from(completion.user_data()).unwrap_or(usize::MAX))
            {
                *result = completion.result();
            }
            reaped += 1;
        }
    }
    sound
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_send_has_its_result() {
        let Ok(mut ring) = SendRing::open() else { return };
        let (near, mut far) = UnixStream::pair().unwrap();
        let (gone, peer) = UnixStream::pair().unwrap();
        drop(peer);
        let payload = vec![7; 100];
        let mut sends = vec![Send { socket: near.as_fd(), bytes: &payload }; 700];
        sends.push(Send { socket: gone.as_fd(), bytes: &payload });
        let mut results = vec![0; sends.len()];
        ring.send(&sends, &mut results);
        assert_eq!(results[700], -libc::EPIPE);
        let taken: usize = results.iter().filter(|result| **result > 0).map(|result| *result as usize).sum();
        drop(near);
        let parts = [IoSlice::new(b"in "), IoSlice::new(b"parts")];
        let mut results = [0; 2];
        let (one, mut end) = UnixStream::pair().unwrap();
        let sends = [one.as_fd(), gone.as_fd()].map(|socket| SendParts { socket, parts: &parts });
        ring.send_parts(&sends, &mut results);
        assert_eq!(results, [8, -libc::EPIPE]);
        drop(one);
        let mut joined = String::new();
        end.read_to_string(&mut joined).unwrap();
        assert_eq!(joined, "in parts");
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), taken);
        assert!(ring.is_open());
    }
}
