//! What an RTP stream tells of its packets.

use serde::Serialize;

/// The books of an RTP stream, beside those that every stream has. With them `received + repaired = published + refused.* +
/// malformed + duplicate + late + other_sender + empty + held`, exactly.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RtpStatus {
    /// The sender that is followed, in hexadecimal; `null` before the first packet.
    pub ssrc: Option<String>,
    /// Datagrams that were neither RTP nor MPEG-TS.
    pub malformed: u64,
    /// Packets that had come before.
    pub duplicate: u64,
    /// Packets that came when those behind them had been passed on.
    pub late: u64,
    /// Packets of a sender that was not followed (another SSRC), and single ones far from the sequence.
    pub other_sender: u64,
    /// Packets without a payload.
    pub empty: u64,
    /// Packets that wait now for those before them.
    pub held: usize,
    /// Packets that were put back in order.
    pub reordered: u64,
    /// Packets that never came, or came late: holes in what clients got. They are not among the received.
    pub missing: u64,
    /// Packets brought back by FEC; not among the received, nor among the missing.
    pub repaired: u64,
    /// Times that another SSRC was followed, or that the sequence began anew.
    pub restarts: u64,
    /// Datagrams that were MPEG-TS without RTP and passed on as they were.
    pub plain: u64,
    /// FEC, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fec: Option<FecStatus>,
}

/// The books of the FEC beside a stream: `received = malformed + unneeded + waiting`, and those that repaired a packet each,
/// which are `repaired`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FecStatus {
    /// Groups joined for it now: 2, or fewer where the interface is away or a join failed.
    pub joined: usize,
    /// Datagrams read.
    pub received: u64,
    /// Datagrams that were no FEC, cut off, or for another address.
    pub malformed: u64,
    /// FEC packets that repaired nothing: all that they protect came, or too little.
    pub unneeded: u64,
    /// FEC packets that wait for what they protect.
    pub waiting: usize,
    /// Packets from the first of a matrix to its last; 0 before there was any.
    pub matrix: u16,
}
