//! What happens to money, in sentences for the operator. No wallet and no transaction is in them.

use super::MoneyEvent;
use crate::chain::engine::{Event, Outcome, Payment};
use crate::ledger::{CreditChange, Tokens, Verdict, Wei};

impl MoneyEvent {
    /// One sentence, or nothing for what only programs care about.
    pub fn sentence(&self) -> Option<String> {
        match self {
            Self::Engine(event) => engine(event),
            Self::Credited(changes) => credited(changes),
            Self::Judged(verdicts) => judged(verdicts),
            Self::Distrusted(endpoint, why) => Some(format!(
                "Endpoint {} of the chain is not believed for incoming payments: {why}.",
                u32::from(*endpoint) + 1
            )),
        }
    }
}

fn hops(number: usize) -> String {
    match number {
        1 => "1 hop".to_owned(),
        number => format!("{number} hops"),
    }
}

fn amount(payment: &Payment) -> Tokens {
    let amounts = payment.shares.iter().map(|(_, amount)| *amount);
    Tokens(amounts.fold(0, Wei::saturating_add))
}

fn engine(event: &Event) -> Option<String> {
    Some(match event {
        Event::Begun(payment) if payment.shares.is_empty() => {
            format!("Approval {} for batches begins.", payment.nonce)
        }
        Event::Begun(payment) => format!(
            "Payment {} begins: {} to {}.",
            payment.nonce,
            amount(payment),
            hops(payment.shares.len())
        ),
        Event::Included(payment) => format!("Payment {} is in a block.", payment.nonce),
        Event::Reorged { nonce } => {
            format!("The block with payment {nonce} is gone; it is sent again.")
        }
        Event::Final { payment, outcome } => {
            let nonce = payment.nonce;
            match outcome {
                Outcome::Paid => format!("Payment {nonce} is final: paid."),
                Outcome::Failed => {
                    format!("Payment {nonce} is final and did nothing; it is owed again.")
                }
                Outcome::Cancelled => format!("Payment {nonce} is cancelled; it is owed again."),
                Outcome::Foreign => {
                    format!("Another transaction took the place of payment {nonce}.")
                }
                Outcome::Astray => format!(
                    "Payment {nonce} took tokens and did not bring them to the hops; it is owed \
                     again, because you said so."
                ),
            }
        }
        Event::Stuck { nonce } => format!(
            "Payment {nonce} waits longer than it should, and its fee can't be raised within \
             gas_cap."
        ),
        Event::Short {
            tokens_needed,
            tokens,
            coins_needed,
            coins,
            waiting,
        } => format!(
            "{waiting} payments wait for money: they take {} and {coins_needed} wei of the coin \
             for fees; there are {} and {coins} wei.",
            Tokens(*tokens_needed),
            Tokens(*tokens)
        ),
        Event::GasTooDear { price, cap } => format!(
            "Gas costs {price} wei and gas_cap is {cap}: payments wait until it is cheaper."
        ),
        Event::NotWorthItsFee { value, fee } => format!(
            "A debt of {} waits: the fee of {fee} wei of the coin is more than 5 % of it.",
            Tokens(*value)
        ),
        Event::DayCap { spent } => format!(
            "{} were paid today, which is day_cap: the rest waits until tomorrow.",
            Tokens(*spent)
        ),
        Event::WouldPay {
            payees,
            amount,
            fee,
        } => format!(
            "Dry run: {} would be paid to {} for at most {fee} wei of the coin.",
            Tokens(*amount),
            hops(*payees)
        ),
        Event::Halted(why) => format!("Payments are halted: {why}."),
        Event::Reconciled { next } => {
            format!("The chain agrees with the books; the next payment is {next}.")
        }
        Event::Distrusted { endpoint, why } => format!(
            "Endpoint {} of the chain is not believed: {why}.",
            u32::from(*endpoint) + 1
        ),
        Event::Refused(why) => format!("What was ordered can't be done: {why}."),
        // The same bytes are sent again, and the chain tells what became of them.
        Event::NotTaken { .. } => return None,
    })
}

/// What came in, finally or not.
fn credited(changes: &[CreditChange]) -> Option<String> {
    let (mut seen, mut last, mut gone): (Wei, Wei, Wei) = (0, 0, 0);
    for change in changes {
        let (sum, amount) = match change {
            CreditChange::Seen { amount, .. } => (&mut seen, amount),
            CreditChange::Final { amount, .. } => (&mut last, amount),
            CreditChange::Gone { amount, .. } => (&mut gone, amount),
        };
        *sum = sum.saturating_add(*amount);
    }
    let parts = [
        (seen, "came in"),
        (last, "are final"),
        (gone, "were taken back"),
    ];
    let said: Vec<String> = (parts.into_iter().filter(|(sum, _)| *sum > 0))
        .map(|(sum, what)| format!("{} {what}", Tokens(sum)))
        .collect();
    (!said.is_empty()).then(|| format!("{}.", said.join(", ")))
}

fn judged(verdicts: &[Verdict]) -> Option<String> {
    let said: Vec<String> = (verdicts.iter())
        .map(|verdict| match verdict {
            Verdict::Banned(owed) => {
                format!("A payer who owes {} is served no more.", Tokens(*owed))
            }
            Verdict::Unbanned(owed) => {
                format!("A payer who owes {} is served again.", Tokens(*owed))
            }
        })
        .collect();
    (!said.is_empty()).then(|| said.join(" "))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};

    use super::*;
    use crate::chain::engine::{Distrust, Halt, SendError};
    use crate::ledger::{Payee, TOKEN};

    #[test]
    fn what_happens_is_told_without_wallets_and_transactions() {
        let payee = Payee {
            wallet: Address::repeat_byte(0xab),
            hop: [0xab; 32],
        };
        let payment = |shares: usize| Payment {
            nonce: 7,
            hash: B256::repeat_byte(0xab),
            shares: vec![(payee, TOKEN / 4); shares],
        };
        let told = |event: Event| MoneyEvent::Engine(event).sentence();
        let begun = told(Event::Begun(payment(2))).unwrap();
        assert_eq!(begun, "Payment 7 begins: 0.5 MASQ to 2 hops.");
        let approval = told(Event::Begun(payment(0))).unwrap();
        assert_eq!(approval, "Approval 7 for batches begins.");
        let events = [
            Event::Included(payment(1)),
            Event::Final {
                payment: payment(1),
                outcome: Outcome::Failed,
            },
            Event::Halted(Halt::Foreign { nonce: 7 }),
            Event::Distrusted {
                endpoint: 0,
                why: Distrust::Behind,
            },
            Event::Refused("nothing is known at that nonce"),
        ];
        for event in events {
            let said = told(event).unwrap();
            assert!(said.ends_with('.') && !said.contains("abab"), "{said}");
        }
        let silent = Event::NotTaken {
            nonce: 7,
            why: SendError::Unknown,
        };
        assert_eq!(told(silent), None);
        let judged = MoneyEvent::Judged(vec![Verdict::Banned(TOKEN)]);
        assert!(judged.sentence().unwrap().contains("1 MASQ"));
        assert_eq!(MoneyEvent::Judged(vec![]).sentence(), None);
        assert_eq!(MoneyEvent::Credited(vec![]).sentence(), None);
    }
}
