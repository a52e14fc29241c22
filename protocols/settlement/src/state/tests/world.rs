//! A hop, a payer, and a chain between them, all in virtual time.

use super::super::*;
use crate::message::{PaymentState, Receipt, Statement};
use crate::rates::{Carried, RatePack, Service};
use crate::testing::Wallet;

pub(super) const HOP: NodeKey = NodeKey([0x22; 32]);
/// What everything is served for before anything is paid.
pub(super) const LIMIT: Wei = 1 << 40;
pub(super) const TERMS: Terms = Terms {
    rates: RatePack {
        routing_byte: 1,
        routing_package: 100,
        exit_byte: 3,
        exit_package: 300,
    },
    service: Service::Routing,
    max_spend: 1 << 40,
};

pub(super) fn domain() -> Domain {
    Domain::new(31337, Address::repeat_byte(0x11))
}

pub(super) fn payer() -> Address {
    Wallet::new(1).address()
}

pub(super) fn circuit(number: u8) -> CircuitRef {
    CircuitRef([number; 8])
}

pub(super) fn cells(number: u64) -> Usage {
    Usage {
        over: Carried::default(),
        back: Carried {
            cells: number,
            bytes: number * 1000,
        },
    }
}

/// The price of so many cells.
pub(super) fn price(number: u64) -> Wei {
    TERMS.price(cells(number))
}

/// Both sides.
pub(super) struct World {
    pub(super) hop: Machine,
    pub(super) payer: Machine,
    pub(super) now: Now,
    pub(super) hop_says: Vec<Event>,
    pub(super) payer_says: Vec<Event>,
    pub(super) lookups: Vec<B256>,
    pub(super) spoken: Vec<Party>,
}

pub(super) fn to_payer() -> Party {
    Party::Payer(payer())
}

pub(super) fn to_hop() -> Party {
    Party::Hop(HOP)
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Config::new(domain(), HOP, LIMIT, TERMS.rates))
    }

    pub(super) fn with(config: Config) -> Self {
        let own = Config::new(domain(), NodeKey([0x33; 32]), 0, TERMS.rates);
        Self {
            hop: Machine::new(config, None),
            payer: Machine::new(own, Some(Arc::new(Wallet::new(1)))),
            now: Now {
                mono: Duration::from_secs(1),
                unix: 1_700_000_000,
            },
            hop_says: Vec::new(),
            payer_says: Vec::new(),
            lookups: Vec::new(),
            spoken: Vec::new(),
        }
    }

    /// With room for one account in use at each side.
    pub(super) fn cramped() -> Self {
        let mut world = Self::new();
        let config = |machine: &Machine| {
            let mut config = machine.config.clone();
            (config.max_payers, config.max_hops) = (1, 1);
            config
        };
        world.hop = Machine::new(config(&world.hop), None);
        let signer = Arc::new(Wallet::new(1));
        world.payer = Machine::new(config(&world.payer), Some(signer));
        world
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.unix += seconds;
        for machine in [&mut self.hop, &mut self.payer] {
            if machine.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                machine.on_timeout(self.now);
            }
            assert!(machine.poll_timeout().is_none_or(|at| at > self.now.mono));
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.hop.poll_output() {
            match output {
                Output::Event(event) => self.hop_says.push(event),
                Output::LookUp { transaction, .. } => self.lookups.push(transaction),
                Output::Speak(party) => self.spoken.push(party),
            }
        }
        while let Some(output) = self.payer.poll_output() {
            match output {
                Output::Event(event) => self.payer_says.push(event),
                Output::LookUp { .. } => panic!("a payer looks nothing up"),
                Output::Speak(party) => self.spoken.push(party),
            }
        }
    }

    pub(super) fn open(&mut self, number: u8) {
        self.open_on(number, TERMS);
    }

    pub(super) fn open_on(&mut self, number: u8, terms: Terms) {
        self.hop
            .admit(self.now, payer(), circuit(number), terms)
            .unwrap();
        self.payer
            .open(self.now, HOP, circuit(number), terms)
            .unwrap();
    }

    pub(super) fn hop_does(&mut self, input: Input) {
        self.hop.handle(self.now, input);
        self.drain();
    }

    pub(super) fn payer_does(&mut self, input: Input) {
        self.payer.handle(self.now, input);
        self.drain();
    }

    /// What each side has counted of a circuit.
    pub(super) fn carry(&mut self, number: u8, at_hop: u64, at_payer: u64) {
        let circuit = circuit(number);
        let input = |who, usage| Input::Carried {
            who,
            circuit,
            usage,
        };
        self.hop_does(input(to_payer(), cells(at_hop)));
        self.payer_does(input(to_hop(), cells(at_payer)));
    }

    /// A circuit ends, and what is on its way when it does has arrived or is lost.
    pub(super) fn end(&mut self, number: u8, at_hop: u64, at_payer: u64, clean: bool) {
        self.end_now(number, at_hop, at_payer, clean);
        self.pass(limits::MESSAGE_LIFE.as_secs() + 1);
    }

    pub(super) fn end_now(&mut self, number: u8, at_hop: u64, at_payer: u64, clean: bool) {
        let circuit = circuit(number);
        let input = |who, usage| Input::Ended {
            who,
            circuit,
            usage,
            clean,
        };
        self.hop_does(input(to_payer(), cells(at_hop)));
        self.payer_does(input(to_hop(), cells(at_payer)));
    }

    /// What the hop says now.
    pub(super) fn hop_speaks(&mut self, on: Option<u8>) -> Message {
        let on = on.map(circuit);
        let said = self.hop.say(self.now, &to_payer(), on.as_ref()).unwrap();
        self.drain();
        Message::decode(&said.encode()).unwrap()
    }

    /// What the hop says beside statements: they take turns.
    pub(super) fn hop_answers(&mut self) -> Message {
        match self.hop_speaks(None) {
            Message::Statement(_) => self.hop_speaks(None),
            other => other,
        }
    }

    pub(super) fn payer_speaks(&mut self) -> Option<Message> {
        let said = self.payer.say(self.now, &to_hop(), None);
        self.drain();
        said.map(|said| Message::decode(&said.encode()).unwrap())
    }

    pub(super) fn hop_hears(&mut self, message: Message) {
        self.hop_does(Input::Heard {
            from: to_payer(),
            message,
        });
    }

    pub(super) fn payer_hears(&mut self, message: Message) {
        self.payer_does(Input::Heard {
            from: to_hop(),
            message,
        });
    }

    /// A statement and its receipt, both arriving.
    pub(super) fn round(&mut self, on: Option<u8>) -> (Statement, Option<Receipt>) {
        let Message::Statement(statement) = self.hop_speaks(on) else {
            panic!("nothing else is to be said");
        };
        self.payer_hears(Message::Statement(statement));
        let said = self.payer_speaks();
        if let Some(message) = said {
            self.hop_hears(message);
        }
        let receipt = match said {
            Some(Message::Receipt(receipt)) => Some(receipt),
            _ => None,
        };
        (statement, receipt)
    }

    pub(super) fn owed_at_hop(&self) -> PayerBooks {
        self.hop.payer(&payer()).unwrap()
    }

    pub(super) fn owed_at_payer(&self) -> HopBooks {
        self.payer.hop(&HOP).unwrap()
    }

    /// The chain shows a transaction to the hop.
    pub(super) fn chain(&mut self, transaction: u8, found: Found) {
        self.hop_does(Input::Chain {
            payer: payer(),
            transaction: B256::repeat_byte(transaction),
            found,
        });
    }

    pub(super) fn paid(&mut self, transaction: u8, amount: Wei, payment: Payment) {
        self.payer_does(Input::Paid {
            hop: HOP,
            transaction: B256::repeat_byte(transaction),
            amount,
            payment,
        });
    }

    pub(super) fn seen(&self) -> Vec<PaymentState> {
        let states = self.payer_says.iter().filter_map(|event| match event {
            Event::PaymentSeen { state, .. } => Some(*state),
            _ => None,
        });
        states.collect()
    }
}
