//! Sessions: the duplex byte pipe between an origin and an exit.
//!
//! A session rides on the end of a circuit ([`crate::CircuitEnd`]) and is a layer of its own: it has an
//! identifier, counts its bytes, acknowledges them, and keeps those that are not acknowledged, so that
//! it can go on over another circuit to the same exit where the one before stopped. It also holds the
//! **cell credit**: the exit sends cells only against credit that the origin gave, so the origin can
//! always take what arrives, and nobody can run up its bill.
//!
//! [`Machine`] is the protocol, pure: no clock, no tasks, no input or output. [`SessionStream`] moves
//! its cells over a circuit and is an `AsyncRead + AsyncWrite`. What the bytes mean lies above, in
//! [`crate::flow`]; how cells are sealed and carried lies below.

mod credit;
mod end;
mod header;
mod machine;
mod resume;
mod stream;
mod unacked;

pub use credit::CREDIT_WINDOW;
pub use end::{SessionEnd, SessionViolation};
pub use header::{HEADER_LEN, Header, Hello, Kind};
pub use machine::{ACK_EVERY, Machine, Taken};
pub use resume::{ResumeProof, SessionId};
pub(crate) use stream::SessionCore;
pub use stream::{EXIT_QUEUE, SessionStream};
pub use unacked::SEND_BUFFER;
