//! Binary messages: any bytes are records or a typed mistake, and what a client sent reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wscast::model::record::{Records, SendRecords};

fuzz_target!(|message: &[u8]| {
    let sent: Result<Vec<_>, _> = SendRecords::new(message).collect();
    if let Ok(records) = sent {
        let mut again = Vec::new();
        for record in records {
            record.put(&mut again);
        }
        assert_eq!(again, message);
    }
    let heard: Result<Vec<_>, _> = Records::new(message).collect();
    if let Ok(records) = heard {
        let mut again = Vec::new();
        for record in &records {
            record.header.put(record.payload, &mut again);
        }
        // Bits without a meaning are not kept, all else is.
        let read: Result<Vec<_>, _> = Records::new(&again).collect();
        assert_eq!(read, Ok(records));
        assert_eq!(again.len(), message.len());
    }
});
