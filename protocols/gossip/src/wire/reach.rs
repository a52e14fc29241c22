//! Messages of the reachability check, kinds 22 and 23. What they are for is in
//! `state::reach`.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Message, WireError, field, kind, ports};
use crate::proto::Frame;
use crate::reach::ReachOutcome;

pub(super) fn ask_frame(asked: &[u16]) -> Frame<'_> {
    Frame {
        kind: kind::REACH_ASK,
        port: asked.iter().map(|port| u32::from(*port)).collect(),
        ..Frame::default()
    }
}

pub(super) fn reply_frame(
    outcome: ReachOutcome,
    reached: &[u16],
    seen: Option<IpAddr>,
) -> Frame<'_> {
    let seen = match seen {
        None => Vec::new(),
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
    };
    Frame {
        kind: kind::REACH_REPLY,
        port: reached.iter().map(|port| u32::from(*port)).collect(),
        reason: outcome.code(),
        data: Cow::Owned(seen),
        ..Frame::default()
    }
}

pub(super) fn ask(f: &Frame<'_>) -> Result<Message, WireError> {
    let ports = ports(f)?;
    if ports.is_empty() {
        return Err(field(f, "port"));
    }
    Ok(Message::ReachAsk { ports })
}

pub(super) fn reply(f: &Frame<'_>) -> Result<Message, WireError> {
    let seen = match f.data.as_ref() {
        [] => None,
        bytes => {
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let any = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            Some(any.map_err(|_| field(f, "data"))?)
        }
    };
    Ok(Message::ReachReply {
        outcome: ReachOutcome::from_code(f.reason),
        ports: ports(f)?,
        seen,
    })
}
