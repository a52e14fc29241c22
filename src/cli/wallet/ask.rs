//! Asking a person, without showing what is typed; or, where no terminal is,
//! reading the answers from standard input, a line for each question.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use zeroize::Zeroizing;

use super::{Failure, code};
use crate::store::{Password, VaultError};

/// Longest answer, in bytes (24 words have at most 215).
const MAX_ANSWER: u64 = 4096;
/// How often a person may mistype before the command ends.
const TRIES: usize = 3;
/// What a person types to say that the words are written down.
const CONFIRMATION: &str = "written";
/// What a person types who does not want the wallet.
const DECLINED: [&str; 4] = ["no", "n", "quit", "q"];
/// Words in a row, where a phrase is shown.
const WORDS_PER_ROW: usize = 4;

/// Where answers come from.
#[derive(Debug)]
pub(super) struct Ask {
    terminal: bool,
}

impl Ask {
    pub(super) fn of_process() -> Self {
        Self {
            terminal: io::stdin().is_terminal(),
        }
    }

    /// Whether a person answers.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A secret: not shown while it is typed.
    pub(super) fn secret(&mut self, what: &str) -> Result<Zeroizing<String>, Failure> {
        if self.terminal {
            return rpassword::prompt_password(format!("{what} (it does not show): "))
                .map(Zeroizing::new)
                .map_err(|error| unreadable(what, &error));
        }
        line(&mut io::stdin().lock(), what)
    }

    /// A new secret: a person types it twice.
    pub(super) fn secret_twice(&mut self, what: &str) -> Result<Zeroizing<String>, Failure> {
        self.twice(what, |_| Ok(()))
    }

    /// The same; what `check` refuses need not be typed again.
    fn twice(
        &mut self,
        what: &str,
        check: impl Fn(&str) -> Result<(), VaultError>,
    ) -> Result<Zeroizing<String>, Failure> {
        if !self.terminal {
            let secret = self.secret(what)?;
            check(&secret)?;
            return Ok(secret);
        }
        for _ in 0..TRIES {
            let first = self.secret(what)?;
            if let Err(error) = check(&first) {
                say(&format!("{error}."))?;
                continue;
            }
            if self.secret("The same again")? == first {
                return Ok(first);
            }
            say("The two differ. Once more.")?;
        }
        Err(given_up())
    }

    /// A new password, long enough.
    pub(super) fn new_password(&mut self, what: &str) -> Result<Password, Failure> {
        let secret = self.twice(what, |secret| Password::new(secret).check())?;
        Ok(Password::new(&secret))
    }

    /// Shows the words of a new wallet, and waits until they are written down.
    pub(super) fn show_words(&mut self, words: &str, passphrase: bool) -> Result<(), Failure> {
        say(
            "\nWrite these words down, on paper, in this order. They are your wallets: whoever has \
             them\nhas your money, and if the data folder or its password is lost they are all \
             that brings it back.\nThey are shown only now.\n",
        )?;
        let words: Vec<_> = words.split(' ').collect();
        for (row, chunk) in words.chunks(WORDS_PER_ROW).enumerate() {
            let mut text = Zeroizing::new(String::new());
            for (column, word) in chunk.iter().enumerate() {
                let number = row * WORDS_PER_ROW + column + 1;
                text.push_str(&format!("  {number:2} {word:10}"));
            }
            say(text.trim_end())?;
        }
        say("")?;
        if passphrase {
            say("The passphrase belongs to them. Write it down too, and keep it elsewhere.\n")?;
        }
        for _ in 0..TRIES {
            write!(
                io::stderr(),
                "Type \"{CONFIRMATION}\" when you have them on paper, or \"no\" to make no wallet: "
            )
            .map_err(Failure::from)?;
            let answer = line(&mut io::stdin().lock(), "a confirmation")?;
            if answer.trim().eq_ignore_ascii_case(CONFIRMATION) {
                return Ok(());
            }
            if DECLINED.contains(&answer.trim().to_ascii_lowercase().as_str()) {
                break;
            }
        }
        Err(Failure::new(
            code::REFUSED,
            "the words were not confirmed, so no wallet was made",
            "Take paper and pen, and start again; there will be other words.".to_owned(),
        ))
    }
}

/// Questions go to standard error: standard output is for answers.
fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stderr(), "{text}").map_err(Failure::from)
}

/// The next line, without its end.
fn line(input: &mut impl BufRead, what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    input
        .take(MAX_ANSWER)
        .read_line(&mut line)
        .map_err(|error| unreadable(what, &error))?;
    if line.is_empty() {
        return Err(Failure::new(
            code::USAGE,
            format!("the input ended where an answer was expected: {what}"),
            "`masq wallet --help` says what is read, and in which order.".to_owned(),
        ));
    }
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
}

fn unreadable(what: &str, error: &io::Error) -> Failure {
    let what = format!("the answer can't be read ({what}): {error}");
    Failure::new(code::USAGE, what, None)
}

fn given_up() -> Failure {
    Failure::new(
        code::REFUSED,
        "that was often enough; nothing was changed",
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_bounded() {
        let mut input = io::Cursor::new("one\r\n\ntwo words\nlast");
        for expected in ["one", "", "two words", "last"] {
            assert_eq!(line(&mut input, "x").unwrap().as_str(), expected);
        }
        let failure = line(&mut input, "the password").unwrap_err();
        assert_eq!(failure.code, code::USAGE);
        assert!(failure.what.contains("the password"));
        let mut endless = io::BufReader::new(io::repeat(b'a'));
        assert_eq!(line(&mut endless, "x").unwrap().len() as u64, MAX_ANSWER);
        assert!(line(&mut io::Cursor::new(b"\xff\xfe\n"), "x").is_err());
    }
}
