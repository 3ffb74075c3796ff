//! Capture files: pcapng written, pcapng and pcap read, packets taken apart.

pub mod packet;
pub mod reader;
pub mod writer;
