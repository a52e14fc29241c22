//! The session as a pure machine: what goes into each cell, what may be sent, what a cell that came in
//! means. No clock, no tasks; a session has no timers of its own.
//!
//! Order of calls, for whoever moves the cells:
//!
//! 1. A cell that came in goes to [`Machine::on_cell`]; if it holds data, [`Machine::release`] follows
//!    once that is used up.
//! 2. Before sending: while [`Machine::control_due`] and [`Machine::may_send`], send a cell cut by
//!    [`Machine::cut_control`]; then, while [`Machine::resend_due`], one cut by
//!    [`Machine::cut_resend`]; then data by [`Machine::cut_data`] while [`Machine::room`] lasts.
//! 3. A circuit that is lost is followed by [`Machine::reattach`] at the origin and
//!    [`Machine::resume`] at the exit.

use std::ops::Range;

use super::{
    HEADER_LEN, Header, Hello, Kind, ResumeProof, SEND_BUFFER, SessionId, SessionViolation, credit,
    unacked::Unacked,
};
use crate::{Side, cell::ResumeSecret};

/// Received bytes are acknowledged at the latest when this many are not, if no cell was sent meanwhile
/// that could say so in passing.
///
/// 512 KiB: an acknowledgement of its own costs one small cell, 0.2 % of that; and it is the most that
/// the sender keeps of a session that fell silent. Guess, from those two.
pub const ACK_EVERY: u64 = 512 * 1024;

/// What a cell that came in was.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where in the payload the data lies that is new; empty when there is none. When it is not empty,
    /// the caller owes a [`Machine::release`].
    pub data: Range<usize>,
    /// The other side has closed the session, and nothing more will come.
    pub closed: bool,
}

/// One side of a session.
pub struct Machine {
    side: Side,
    session: Option<SessionId>,
    secret: Option<ResumeSecret>,
    /// Counts the circuits of this session.
    attachment: u32,
    /// At the origin: the hello that the next cell has to carry.
    hello: Option<Hello>,
    sent: Unacked,
    /// After a re-attachment: the next byte to be sent again.
    resend: Option<u64>,
    received: u64,
    /// The acknowledgement that the other side was last told.
    ack_told: u64,
    given: credit::Given,
    taken: credit::Taken,
    closing: bool,
    close_sent: bool,
    close_received: bool,
}

impl Machine {
    /// The origin's side of a new session. The identifier is to be drawn at random.
    pub fn origin(session: SessionId) -> Self {
        Self {
            session: Some(session),
            hello: Some(Hello::Open { session }),
            ..Self::new(Side::Origin)
        }
    }

    /// The exit's side; the identifier comes with the first cell.
    pub fn exit() -> Self {
        Self::new(Side::Exit)
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            session: None,
            secret: None,
            attachment: 0,
            hello: None,
            sent: Unacked::default(),
            resend: None,
            received: 0,
            ack_told: 0,
            given: credit::Given::default(),
            taken: credit::Taken::default(),
            closing: false,
            close_sent: false,
            close_received: false,
        }
    }

    /// Which side this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The session's identifier; at the exit, once the first cell is there.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// The secret that the two ends of the first circuit share: without it, the session cannot go on
    /// over another circuit. The first one counts.
    pub fn set_secret(&mut self, secret: ResumeSecret) {
        self.secret.get_or_insert(secret);
    }

    // --- Receiving -------------------------------------------------------------------------------

    /// Takes the payload of a cell that came in.
    ///
    /// # Errors
    /// How the peer broke the rules. The session must be closed then; nothing of the cell counts.
    pub fn on_cell(&mut self, payload: &[u8]) -> Result<Taken, SessionViolation> {
        let (header, rest) = Header::decode(payload)?;
        match (self.side, header.kind, self.session) {
            (Side::Exit, Kind::Open, None) => {
                let hello = Hello::decode(header.kind, rest)?;
                self.take_figures(&header)?;
                self.session = Some(hello.session());
                return Ok(Taken {
                    data: 0..0,
                    closed: false,
                });
            }
            (_, Kind::Data | Kind::Close, Some(_)) => {}
            _ => return Err(SessionViolation::Unexpected),
        }
        if self.close_received {
            return Err(SessionViolation::AfterClose);
        }
        self.take_figures(&header)?;
        let closed = header.kind == Kind::Close;
        let data = if closed {
            if header.seq != self.received {
                return Err(SessionViolation::Gap);
            }
            self.close_received = true;
            0..0
        } else {
            self.take_data(&header, rest.len())?
        };
        if self.side == Side::Origin && data.is_empty() {
            self.given.released();
        }
        Ok(Taken { data, closed })
    }

    /// Acknowledgement and credit of a cell, and the count of the cell itself.
    fn take_figures(&mut self, header: &Header) -> Result<(), SessionViolation> {
        if !self.sent.acknowledge(header.ack) {
            return Err(SessionViolation::Ack);
        }
        let resend = self.resend.map(|offset| offset.max(header.ack));
        self.resend = resend.filter(|offset| *offset < self.sent.end());
        match self.side {
            Side::Origin => self.given.received(),
            Side::Exit => {
                self.taken.raise(header.credit);
                Ok(())
            }
        }
    }

    /// Which of the `len` bytes of a cell are new.
    fn take_data(&mut self, header: &Header, len: usize) -> Result<Range<usize>, SessionViolation> {
        let end = header
            .seq
            .checked_add(len as u64)
            .ok_or(SessionViolation::Overflow)?;
        if header.seq > self.received {
            return Err(SessionViolation::Gap);
        }
        if end <= self.received {
            // All of it came over the circuit before.
            return Ok(0..0);
        }
        let skip = usize::try_from(self.received - header.seq).unwrap_or(len);
        self.received = end;
        Ok(HEADER_LEN + skip..HEADER_LEN + len)
    }

    /// The data of one cell is used up: its place may be filled again.
    pub fn release(&mut self) {
        if self.side == Side::Origin {
            self.given.released();
        }
    }

    /// Whether the other side has closed.
    pub fn is_closed_by_peer(&self) -> bool {
        self.close_received
    }

    // --- Sending ---------------------------------------------------------------------------------

    /// How far the other side has acknowledged, and how many bytes beyond that are kept for it.
    pub fn kept(&self) -> (u64, usize) {
        (self.sent.acked(), self.sent.len())
    }

    /// Whether a cell may be sent at all: at the exit, whether there is credit.
    pub fn may_send(&self) -> bool {
        match self.side {
            Side::Origin => true,
            Side::Exit => self.session.is_some() && self.taken.available(),
        }
    }

    /// How many bytes of new data may be cut into cells: what the buffer of unacknowledged bytes has
    /// room for.
    pub fn room(&self) -> usize {
        if self.closing {
            return 0;
        }
        SEND_BUFFER.saturating_sub(self.sent.len())
    }

    /// Whether new data has to wait: for credit, for the hello, or for old data to go out again.
    pub fn is_blocked(&self) -> bool {
        !self.may_send() || self.hello.is_some() || self.resend_due()
    }

    /// Whether a cell without data is worth sending: a hello, an acknowledgement or credit that is
    /// overdue, or the close.
    pub fn control_due(&self) -> bool {
        self.hello.is_some()
            || self.received - self.ack_told >= ACK_EVERY
            || (self.side == Side::Origin && self.given.due())
            || (self.closing && !self.close_sent && !self.resend_due())
    }

    /// Writes a cell without data into `payload` and says how long it is; the smallest cell suffices.
    /// To be sent, in this order with the others.
    pub fn cut_control(&mut self, payload: &mut [u8]) -> usize {
        if let Some(hello) = self.hello.take() {
            self.head(hello.kind(), self.sent.end(), payload);
            return HEADER_LEN + hello.encode(&mut payload[HEADER_LEN..]);
        }
        let last = self.closing && !self.close_sent && !self.resend_due();
        let kind = if last { Kind::Close } else { Kind::Data };
        self.close_sent |= last;
        let seq = self.resend.unwrap_or(self.sent.end());
        self.head(kind, seq, payload);
        HEADER_LEN
    }

    /// Completes a cell of new data: `payload` has [`HEADER_LEN`] bytes of room and the data behind
    /// them. To be sent, in this order with the others.
    ///
    /// # Errors
    /// [`SessionViolation::Overflow`] after 2⁶⁴ bytes.
    pub fn cut_data(&mut self, payload: &mut [u8]) -> Result<(), SessionViolation> {
        debug_assert!(!self.is_blocked(), "data was cut while it had to wait");
        let seq = self.sent.end();
        if !self.sent.push(&payload[HEADER_LEN..]) {
            return Err(SessionViolation::Overflow);
        }
        self.head(Kind::Data, seq, payload);
        Ok(())
    }

    /// Whether bytes have to go out again, after a re-attachment.
    pub fn resend_due(&self) -> bool {
        self.resend.is_some()
    }

    /// Fills `payload` with the next of the bytes that have to go out again, and says how long it is.
    /// To be sent, in this order with the others.
    pub fn cut_resend(&mut self, payload: &mut [u8]) -> usize {
        let offset = self.resend.unwrap_or(self.sent.end());
        let n = self.sent.copy_from(offset, &mut payload[HEADER_LEN..]);
        let next = offset + n as u64;
        self.resend = (next < self.sent.end()).then_some(next);
        self.head(Kind::Data, offset, payload);
        HEADER_LEN + n
    }

    /// Nothing more will be written. The close goes out as a control cell, after what is buffered.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether the close has been cut.
    pub fn is_close_sent(&self) -> bool {
        self.close_sent
    }

    fn head(&mut self, kind: Kind, seq: u64, payload: &mut [u8]) {
        let credit = match self.side {
            Side::Origin => self.given.tell(),
            Side::Exit => {
                self.taken.spend();
                0
            }
        };
        self.ack_told = self.received;
        let header = Header {
            kind,
            seq,
            ack: self.received,
            credit,
        };
        header.encode(payload);
    }

    // --- Another circuit -------------------------------------------------------------------------

    /// At the origin: goes on over another circuit to the same exit. `binding` is a fresh value that
    /// only the two ends of the new circuit have.
    ///
    /// What was sent and not acknowledged is due to be sent again; the exit drops what it has.
    ///
    /// # Errors
    /// [`SessionViolation::Proof`] when the secret never became known (the first circuit broke before
    /// its key exchange was done): nothing can be proven, and the session has ended.
    pub fn reattach(&mut self, binding: &[u8; 32]) -> Result<(), SessionViolation> {
        let (Side::Origin, Some(session), Some(secret)) = (self.side, self.session, &self.secret)
        else {
            return Err(SessionViolation::Proof);
        };
        let attachment = self
            .attachment
            .checked_add(1)
            .ok_or(SessionViolation::Overflow)?;
        let proof = ResumeProof::new(secret, session, attachment, binding);
        self.attachment = attachment;
        self.hello = Some(Hello::Resume {
            session,
            attachment,
            proof,
        });
        self.given.reattach();
        self.restart();
        Ok(())
    }

    /// At the exit: the session goes on over the circuit whose first cell this is. The caller found
    /// this session by [`Hello::session`].
    ///
    /// # Errors
    /// [`SessionViolation::Proof`] when the proof does not hold or an older circuit is meant; others
    /// when it is no such cell. The session itself is as it was.
    pub fn resume(&mut self, payload: &[u8], binding: &[u8; 32]) -> Result<(), SessionViolation> {
        let (header, rest) = Header::decode(payload)?;
        let Hello::Resume {
            session,
            attachment,
            proof,
        } = Hello::decode(header.kind, rest)?
        else {
            return Err(SessionViolation::Unexpected);
        };
        let (Side::Exit, Some(known), Some(secret)) = (self.side, self.session, &self.secret)
        else {
            return Err(SessionViolation::Proof);
        };
        let holds = known == session && proof.holds(secret, session, attachment, binding);
        if !holds || attachment <= self.attachment {
            return Err(SessionViolation::Proof);
        }
        if header.ack > self.sent.end() {
            return Err(SessionViolation::Ack);
        }
        self.attachment = attachment;
        self.taken.reattach();
        self.restart();
        self.take_figures(&header)
    }

    fn restart(&mut self) {
        let acked = self.sent.acked();
        self.resend = (acked < self.sent.end()).then_some(acked);
        // The last cells may be lost, with what they said.
        self.ack_told = self.ack_told.min(self.received);
        self.close_sent = false;
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("side", &self.side)
            .field("session", &self.session)
            .field("unacked", &self.sent.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
