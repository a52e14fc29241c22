//! Whatever bytes come on a circuit's substream, in either direction: frames or errors, no
//! panic, and nothing but whole frames.
#![no_main]

use std::task::{Context, Poll};

use libfuzzer_sys::fuzz_target;
use masq_cores::frame::{CellReader, Reverse, ReverseReader, cell_kind, cell_size};
use masq_cores::report::HopReport;
use masq_cores::{CellPool, FailureCode, Leg};
use masq_onion::REPORT_LEN;

fuzz_target!(|data: &[u8]| {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for leg in [Leg::Over, Leg::Back] {
        let mut reader = CellReader::new(data, leg, CellPool::new());
        let mut read = 0;
        while let Poll::Ready(Ok(Some(cell))) = reader.poll_cell(&mut cx) {
            assert_eq!(
                cell_size(leg, cell_kind(leg, cell.size())),
                Some(cell.size())
            );
            assert!(cell.is_empty());
            read += cell.size().wire_len();
        }
        assert!(read <= data.len());
    }
    let mut reader = ReverseReader::new(data);
    while let Poll::Ready(Ok(Some(frame))) = reader.poll_frame(&mut cx) {
        match frame {
            Reverse::Report(body) | Reverse::Failure(body) | Reverse::Last(body) => {
                assert_eq!(body.len(), REPORT_LEN);
            }
            Reverse::Refused(code) => assert_eq!(FailureCode::from_byte(code.to_byte()), code),
        }
    }
    if let Some(report) = HopReport::decode(data) {
        assert_eq!(report.encode(), data);
    }
});
