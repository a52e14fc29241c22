//! What the gate and the payer of a node are told, written down.

use std::sync::{Arc, Mutex};

use masq_cores::{
    Authorisation, Carried, FailureCode, PaidHop, Payer, Paying, Role, Running, Served, Unpaid,
};
use masq_onion::AUTH_LEN;

/// What one node has served and paid for, and what it says.
#[derive(Default)]
pub struct Till {
    pub served: Mutex<Vec<Arc<Bill>>>,
    pub paid: Mutex<Vec<Arc<Bill>>>,
    /// What it says in reports: as a hop, and as an origin to every hop, the hop's number
    /// behind it.
    pub says: Mutex<Vec<u8>>,
    /// Put behind refusals.
    pub detail: Mutex<Vec<u8>>,
    /// Why it does not pay.
    pub unpaid: Mutex<Option<String>>,
    pub opened: Mutex<Vec<Vec<PaidHop>>>,
}

/// One circuit.
pub struct Bill {
    till: Arc<Till>,
    pub role: Role,
    /// Kind of the authorisation.
    pub kind: u8,
    pub authorised: Mutex<Vec<[u8; 32]>>,
    pub running: Mutex<Option<Running>>,
    pub heard: Mutex<Vec<(usize, Vec<u8>)>>,
    pub refused: Mutex<Vec<(usize, FailureCode, Vec<u8>)>>,
    pub ended: Mutex<Vec<(Carried, Carried, bool)>>,
    /// How many hops served, where it was told so.
    pub reached: Mutex<Option<usize>>,
}

impl Bill {
    pub fn new(till: Arc<Till>, role: Role, kind: u8) -> Self {
        Self {
            till,
            role,
            kind,
            authorised: Mutex::default(),
            running: Mutex::default(),
            heard: Mutex::default(),
            refused: Mutex::default(),
            ended: Mutex::default(),
            reached: Mutex::default(),
        }
    }

    /// How it ended: exactly once, after it had begun, with counts that change no more.
    pub fn end(&self) -> (Carried, Carried, bool) {
        let ended = self.ended.lock().unwrap();
        assert_eq!(ended.len(), 1, "told once of its end");
        let running = self.running.lock().unwrap();
        let running = running.as_ref().expect("told of its beginning");
        assert!(running.is_over());
        let counted = (
            running.carried(masq_cores::Leg::Over),
            running.carried(masq_cores::Leg::Back),
        );
        assert_eq!(counted, (ended[0].0, ended[0].1));
        ended[0]
    }

    fn begins(&self, running: Running) {
        assert!(!running.is_over());
        assert!(self.running.lock().unwrap().replace(running).is_none());
    }
}

impl Served for Bill {
    fn begun(&self, running: Running) {
        self.begins(running);
    }

    fn heard(&self, slot: &[u8]) {
        self.heard.lock().unwrap().push((0, slot.to_vec()));
    }

    fn say(&self) -> Vec<u8> {
        self.till.says.lock().unwrap().clone()
    }

    fn ended(&self, over: Carried, back: Carried, clean: bool) {
        self.ended.lock().unwrap().push((over, back, clean));
    }
}

impl Paying for Bill {
    fn authorise(&self, hop: usize, ephemeral: &[u8; 32]) -> Authorisation {
        let mut authorised = self.authorised.lock().unwrap();
        assert_eq!(authorised.len(), hop, "in order, each once");
        authorised.push(*ephemeral);
        Authorisation {
            kind: 7,
            body: [0xc0; AUTH_LEN],
        }
    }

    fn begun(&self, running: Running) {
        self.begins(running);
    }

    fn heard(&self, hop: usize, slot: &[u8]) {
        self.heard.lock().unwrap().push((hop, slot.to_vec()));
    }

    fn say(&self, hop: usize) -> Vec<u8> {
        let mut says = self.till.says.lock().unwrap().clone();
        if !says.is_empty() {
            says.push(u8::try_from(hop).unwrap());
        }
        says
    }

    fn half_built(&self, reached: usize) {
        assert!(self.ended.lock().unwrap().is_empty());
        assert_eq!(self.reached.lock().unwrap().replace(reached), None);
    }

    fn refused(&self, hop: usize, code: FailureCode, detail: &[u8]) {
        let refused = (hop, code, detail.to_vec());
        self.refused.lock().unwrap().push(refused);
    }

    fn ended(&self, over: Carried, back: Carried, clean: bool) {
        self.ended.lock().unwrap().push((over, back, clean));
    }
}

/// Pays for everything, or for nothing.
pub struct TillPayer(pub Arc<Till>);

impl Payer for TillPayer {
    fn open(&self, hops: &[PaidHop]) -> Result<Arc<dyn Paying>, Unpaid> {
        if let Some(why) = &*self.0.unpaid.lock().unwrap() {
            return Err(Unpaid(why.clone()));
        }
        self.0.opened.lock().unwrap().push(hops.to_vec());
        let bill = Arc::new(Bill::new(self.0.clone(), Role::Origin, 0));
        self.0.paid.lock().unwrap().push(bill.clone());
        Ok(bill)
    }
}
