//! The neighbourhood protocol `/masq/gossip/1`: records, admission, entry
//! links, introductions, spreading and healing.
//!
//! [`state::Machine`] is the protocol as a pure machine: time and randomness
//! are handed in, nothing is awaited, so thousands of nodes run in one test
//! ([`sim`]). [`Behaviour`] only translates between libp2p and that machine.
//! Routes, circuits and money are not known here.
//!
//! The protocol is specified in `docs/spec/gossip.md`.

mod address;
mod behaviour;
mod bucket;
mod card;
mod chain;
mod codec;
mod config;
mod descriptor;
mod event;
mod gate;
mod handler;
mod key;
mod knock;
mod neighbourhood;
mod proof;
mod proto;
mod reach;
mod record;
mod scope;
pub mod sim;
pub mod state;
mod wire;

pub use address::{Address, Host, MAX_HOST_LEN};
pub use behaviour::Behaviour;
pub use chain::{Chain, UnknownChain};
pub use config::{
    Config, IpLimits, MAX_ADVERTISED, MAX_HOPS, MAX_NEIGHBOURS, RADIUS_RANGE, Timing,
};
pub use descriptor::{Descriptor, DescriptorError, MAX_DESCRIPTOR_LEN, MAX_MASK_LEN, MAX_PORTS};
pub use event::{
    ASK_SERVICE, ASK_TIMEOUT, DownReason, Event, MAX_ASK_LEN, RefuseReason, Remembered,
    SeedFailure, Stage, Start,
};
pub use gate::GateError;
pub use handler::{Command, Handler, Report};
pub use key::{KeyError, NODE_KEY_LEN, NODE_KEY_TEXT_LEN, NodeKey};
pub use knock::{KNOCK_LEN, Knock};
pub use neighbourhood::{EntryFor, Link, LinkInfo, Neighbourhood};
pub use proof::{Lie, MAX_EVIDENCE_LEN, MAX_PROOF_RECORDS, Proof, ProofError};
pub use reach::{Reach, ReachOutcome};
pub use record::{
    MAX_CLOCK_SKEW, MAX_LISTED, MAX_POLICY_LEN, MAX_RECORD_LEN, MAX_RECORD_LIFE, RatePack, Record,
    RecordError, Roles, SIGNATURE_LEN, SignedRecord,
};
pub use state::{
    BAN_LIFE, Ban, BanError, BanReason, ClockView, MAX_BAN_REASON, MAX_BANS, MAX_BANS_BY_HAND,
    PROBE_TIMEOUT,
};
pub use wire::{MAX_MESSAGE_LEN, Message, WireError};
