//! Sends many datagrams to one address with one system call (`sendmmsg`); of those of equal size, many as one message that
//! the kernel cuts into datagrams on their way out (`UDP_SEGMENT`, udp(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockAddr;

/// Datagrams that one message is cut into at most: what the kernel takes since 4.18; more since 6.9.
const SEGMENTS: usize = 64;
/// Bytes in such a message at most: with its headers it must fit into one IP datagram of either family.
const SEGMENTED: usize = 65_000;
/// Messages in one call at most.
const MESSAGES: usize = 64;
/// `UDP_SEGMENT`, `linux/udp.h`.
const UDP_SEGMENT: libc::c_int = 103;

/// Datagrams that leave together, in order, and the buffers for the call. A shard needs one: it is emptied before another
/// sender's datagrams are put in.
pub struct TransmitBatch {
    /// The payloads, one behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// Those before have been sent or dropped.
    front: usize,
    parts: Vec<libc::iovec>,
    controls: Vec<SegmentSize>,
    headers: Vec<libc::mmsghdr>,
    /// The kernel, or a filter of system calls, has no `sendmmsg`.
    one_by_one: bool,
}

/// The control message that asks for a message to be cut up.
#[derive(Clone, Copy)]
#[repr(C)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: u16,
}

/// What the kernel did not take: the first datagrams of the batch, all of them for the same reason.
#[derive(Debug)]
pub struct Refused {
    /// How many; more than one only where they would have left as one message.
    pub datagrams: usize,
    /// Why.
    pub error: io::Error,
}

impl Default for TransmitBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl TransmitBatch {
    /// Makes the buffers, empty.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid value of each of these C structs.
        let (part, mut control, header) = unsafe {
            (
                std::mem::zeroed::<libc::iovec>(),
                std::mem::zeroed::<SegmentSize>(),
                std::mem::zeroed::<libc::mmsghdr>(),
            )
        };
        // SAFETY: CMSG_LEN only calculates.
        control.header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as libc::c_uint) } as _;
        control.header.cmsg_level = libc::SOL_UDP;
        control.header.cmsg_type = UDP_SEGMENT;
        TransmitBatch {
            bytes: Vec::new(),
            ends: Vec::new(),
            front: 0,
            parts: vec![part; MESSAGES],
            controls: vec![control; MESSAGES],
            headers: vec![header; MESSAGES],
            one_by_one: false,
        }
    }

    /// Copies a datagram's payload behind the others.
    pub fn push(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
    }

    /// How many datagrams wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() - self.front
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of payload held, sent or not, since it was last empty.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Drops the first `datagrams`.
    pub fn skip(&mut self, datagrams: usize) {
        self.front = (self.front + datagrams).min(self.ends.len());
        if self.is_empty() {
            self.bytes.clear();
            self.ends.clear();
            self.front = 0;
        }
    }

    /// Sends to `to` what one call takes, without waiting; says how many datagrams, which are then gone from the batch. Runs
    /// of datagrams of at most `segment` bytes each go as one message; 0 for none.
    ///
    /// # Errors
    /// [`Refused`]: the first of them cannot be sent; they stay.
    pub fn send(&mut self, socket: &impl AsFd, to: &SockAddr, segment: usize) -> Result<usize, Refused> {
        let (mut at, mut messages) = (self.front, 0);
        while at < self.ends.len() && messages < MESSAGES {
            let start = self.start(at);
            let datagrams = run(self.ends[at..].iter().copied(), start, segment);
            let whole = &self.bytes[start..self.ends[at + datagrams - 1]];
            self.parts[messages] =
                libc::iovec { iov_base: whole.as_ptr().cast_mut().cast(), iov_len: whole.len() };
            let header = &mut self.headers[messages].msg_hdr;
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
            header.msg_iov = &raw mut self.parts[messages];
            header.msg_iovlen = 1;
            (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
            if datagrams > 1 {
                // A run's size is at most `SEGMENTED`.
                self.controls[messages].size = (self.ends[at] - start) as u16;
                header.msg_control = (&raw mut self.controls[messages]).cast();
                header.msg_controllen = size_of::<SegmentSize>() as _;
            }
            // The kernel overwrites it with the bytes taken, and does not read it.
            self.headers[messages].msg_len = datagrams as libc::c_uint;
            at += datagrams;
            messages += 1;
        }
        if messages == 0 {
            return Ok(0);
        }
        let first = self.headers[0].msg_len as usize;
        match self.call(socket, messages) {
            Ok(taken) => {
                let unsent: usize =
                    self.headers[taken..messages].iter().map(|header| header.msg_len as usize).sum();
                let sent = at - self.front - unsent;
                self.skip(sent);
                Ok(sent)
            }
            Err(error) => Err(Refused { datagrams: first, error }),
        }
    }

    /// Hands the first `messages` headers to the kernel; says how many it took, at least one.
    fn call(&mut self, socket: &impl AsFd, messages: usize) -> io::Result<usize> {
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let socket = socket.as_fd().as_raw_fd();
        if !self.one_by_one {
            // SAFETY: the first `messages` headers, at most as many as there are, point to parts, controls and payloads of
            // `self` and to an address, which have the lengths said and outlive the call; the kernel only reads them.
            let taken = unsafe {
                libc::sendmmsg(socket, self.headers.as_mut_ptr(), messages as libc::c_uint, FLAGS as _)
            };
            match usize::try_from(taken) {
                Ok(taken) => return Ok(taken),
                Err(_) => match io::Error::last_os_error() {
                    error if error.raw_os_error() == Some(libc::ENOSYS) => self.one_by_one = true,
                    error => return Err(error),
                },
            }
        }
        // SAFETY: as above, of the first header alone.
        let sent = unsafe { libc::sendmsg(socket, &raw const self.headers[0].msg_hdr, FLAGS) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) }
    }

    fn start(&self, datagram: usize) -> usize {
        if datagram == 0 { 0 } else { self.ends[datagram - 1] }
    }
}

/// Whether the kernel knows `UDP_SEGMENT` (Linux 4.18); one that doesn't ignores it, and would send a run as one datagram.
pub fn can_segment(socket: &impl AsFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    result == 0
}

/// How many datagrams, of those that begin at `start` and end at `ends`, leave as one message: all of one size that is
/// neither 0 nor above `segment`, but that the last may be shorter.
fn run(ends: impl Iterator<Item = usize>, start: usize, segment: usize) -> usize {
    let (mut datagrams, mut size, mut before) = (0, 0, start);
    for end in ends.take(SEGMENTS) {
        let length = end - before;
        if datagrams == 0 {
            size = length;
        } else if length == 0 || length > size || size > segment || end - start > SEGMENTED {
            break;
        }
        datagrams += 1;
        before = end;
        if length < size {
            break;
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lengths of datagrams, by message.
    fn messages(lengths: &[usize], segment: usize) -> Vec<Vec<usize>> {
        let (mut messages, mut at, mut start) = (Vec::new(), 0, 0);
        while at < lengths.len() {
            let ends = lengths[at..].iter().scan(start, |end, length| {
                *end += length;
                Some(*end)
            });
            let datagrams = run(ends, start, segment);
            assert!(datagrams > 0, "it goes on");
            messages.push(lengths[at..at + datagrams].to_vec());
            start += lengths[at..at + datagrams].iter().sum::<usize>();
            at += datagrams;
        }
        messages
    }

    #[test]
    fn equal_sizes_and_a_shorter_last_leave_as_one_message() {
        assert_eq!(messages(&[7, 7, 7, 3, 7], 1472), [&[7, 7, 7, 3][..], &[7]]);
        assert_eq!(messages(&[3, 7, 7], 1472), [&[3][..], &[7, 7]]);
        assert_eq!(messages(&[7, 0, 0, 7, 7, 0], 1472), [&[7][..], &[0], &[0], &[7, 7], &[0]]);
    }

    #[test]
    fn what_would_be_a_fragment_leaves_alone() {
        assert_eq!(messages(&[1472, 1472], 1472), [[1472, 1472]]);
        assert_eq!(messages(&[1473, 1473, 9], 1472), [[1473], [1473], [9]].map(|one| one.to_vec()));
        assert_eq!(messages(&[9, 9], 0), [[9], [9]]);
    }

    #[test]
    fn a_message_is_bounded_in_datagrams_and_bytes() {
        assert_eq!(messages(&[1; 65], 1472).iter().map(Vec::len).collect::<Vec<_>>(), [64, 1]);
        assert_eq!(messages(&[1316; 60], 1472).iter().map(Vec::len).collect::<Vec<_>>(), [49, 11]);
        assert_eq!(messages(&[65_001, 1], 65_508), [[65_001], [1]]);
    }

    proptest! {
        #[test]
        fn every_message_is_one_that_the_kernel_cuts_as_it_was(
            lengths in prop::collection::vec(prop_oneof![0_usize..4, Just(1316), 1200_usize..1500, 0_usize..65_508], 0..200),
            segment in prop_oneof![Just(0), Just(1472), Just(65_508)],
        ) {
            let messages = messages(&lengths, segment);
            prop_assert_eq!(messages.concat(), lengths);
            for message in messages.iter().filter(|message| message.len() > 1) {
                let (size, last) = (message[0], message[message.len() - 1]);
                prop_assert!(message[..message.len() - 1].iter().all(|length| *length == size));
                prop_assert!(last > 0 && last <= size && size <= segment);
                prop_assert!(message.len() <= SEGMENTS && message.iter().sum::<usize>() <= SEGMENTED);
            }
        }
    }
}
