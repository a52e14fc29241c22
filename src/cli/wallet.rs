//! `masq wallet`: makes, brings and shows the wallets of a data folder. Works
//! on the folder itself, so no daemon may run in it; only `show` asks one.

mod ask;
mod view;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use self::ask::Ask;
use super::{Answer, Failure, code};
use crate::{
    control::Client,
    datadir::{DataDir, DataDirError},
    store::{
        Password, StoreError, Unlock, VaultError,
        vault::{self, KEY_FILE, Lock},
    },
    wallet::{
        ConsumingWallet, Keeper, KeystoreError, Phrase, PhraseError, WalletError,
        keystore::{self, MAX_KEYSTORE},
        parse_address,
    },
};

#[derive(Debug, Args)]
#[command(after_long_help = "\
A node has up to two wallets. The CONSUMING wallet pays the nodes that carry your traffic; its key \
is kept in the data folder, encrypted. The EARNING wallet is paid for what your node carries for \
others; only its address is kept. Everybody sees the earning wallet, nobody should see the \
consuming one, so they must differ.

Examples:
  masq wallet generate                    make both, from 12 words to write down
  masq wallet recover                     bring both back from the words
  masq wallet import                      use a private key that you have
  masq wallet import --keystore FILE      use a keystore file of another program
  masq wallet set-earning 0xADDRESS       be paid to a wallet of your own
  masq wallet show                        which wallets this node has

In scripts, when the input is not a terminal, what would be asked is read from it, a line for each \
question, in this order: the password of the data folder, unless --password-file gives it; then \
the words, private key or keystore password; then the passphrase, with --passphrase:
  printf '%s\\n' \"$WORDS\" | masq wallet recover --password-file FILE --json

The daemon must be stopped meanwhile, but for `show`: it has the data folder locked.")]
pub(super) struct WalletArgs {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: WalletCommand,
}

/// What opens the data folder.
#[derive(Debug, Args)]
struct Access {
    /// The password is the first line of this file
    #[arg(long, value_name = "FILE", global = true, conflicts_with_all = ["no_password", "key_file"])]
    password_file: Option<PathBuf>,
    /// Protect a new data folder by a key file in it, not by a password
    ///
    /// Whoever has the whole folder then has the wallet: keep it on a disk that only you can read.
    #[arg(long, global = true)]
    no_password: bool,
    /// The key file is this one [default: store.key in the data folder]
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Make new wallets, from words that you write down
    Generate {
        /// How many words
        #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = word_count)]
        words: usize,
        #[command(flatten)]
        phrase: PhraseArgs,
        /// Don't ask whether the words are written down: for scripts, which must keep them
        #[arg(long)]
        written_down: bool,
        #[command(flatten)]
        replace: Replace,
    },
    /// Bring wallets back from their words
    ///
    /// The words are the wallets: with them, nothing else is needed, and no password. If the
    /// password of the data folder is lost, move the folder away, start with a new one, and recover
    /// the wallets here. Debts that were recorded in the old folder can't be read any more.
    Recover {
        #[command(flatten)]
        phrase: PhraseArgs,
        #[command(flatten)]
        replace: Replace,
    },
    /// Use a private key, or a keystore file of another program, as consuming wallet
    Import {
        /// A keystore file (version 3, as geth, MetaMask or MyEtherWallet export it)
        #[arg(long, value_name = "FILE")]
        keystore: Option<PathBuf>,
        #[command(flatten)]
        replace: Replace,
    },
    /// Which wallets this node has
    Show {
        /// Open the key as well, and compare it with the address
        #[arg(long)]
        verify: bool,
    },
    /// Write the consuming wallet's key into a keystore file, for another program
    Export {
        /// The file to make; it must not exist
        #[arg(value_name = "FILE")]
        to: PathBuf,
        /// The password for that file is the first line of this one
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
    /// Set the wallet that is paid for what this node carries
    SetEarning {
        /// Its address, as your wallet shows it
        #[arg(value_name = "ADDRESS")]
        address: String,
    },
    /// Change the password of the data folder, or do without one
    ChangePassword {
        /// The new password is the first line of this file
        #[arg(long, value_name = "FILE", conflicts_with = "to_key_file")]
        new_password_file: Option<PathBuf>,
        /// No password any more: a key file in the data folder opens it
        #[arg(long)]
        to_key_file: bool,
    },
}

#[derive(Debug, Args)]
struct PhraseArgs {
    /// Ask for a passphrase that belongs to the words (BIP-39)
    ///
    /// It is as needed as the words: with another one, or none, they give other wallets.
    #[arg(long)]
    passphrase: bool,
}

#[derive(Debug, Args)]
struct Replace {
    /// Put it in the place of the consuming wallet that is there, whose file is moved aside
    #[arg(long)]
    replace: bool,
}

fn word_count(text: &str) -> Result<usize, PhraseError> {
    let words = text.parse().unwrap_or(0);
    if crate::wallet::WORD_COUNTS.contains(&words) {
        Ok(words)
    } else {
        Err(PhraseError::Count(words))
    }
}

impl From<WalletError> for Failure {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Folder(DataDirError::InUse { path })
            | WalletError::Store(StoreError::InUse { path }) => Self::new(
                code::TEMPORARY,
                format!(
                    "a daemon uses {}, so its wallets can't be changed now",
                    path.display()
                ),
                "Stop it with `masq shutdown`, and start it again afterwards.".to_owned(),
            ),
            WalletError::Vault(VaultError::NeedsPassword { path }) => Self::new(
                code::NO_PERMISSION,
                format!(
                    "{} is locked by a password, not by a key file",
                    path.display()
                ),
                "Leave --key-file and --no-password out.".to_owned(),
            ),
            other => Self::new(other.exit_code(), format!("{other}."), None),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        WalletError::from(error).into()
    }
}

/// `show` while the daemon runs, which has the folder locked: it is asked. `false` when none
/// answers, or it can't say what is wanted.
pub(super) async fn ask_daemon(
    arguments: &WalletArgs,
    folder: &Path,
    answer: &mut Answer<'_>,
) -> Result<bool, Failure> {
    let WalletCommand::Show { verify } = arguments.command else {
        return Ok(false);
    };
    let Ok(client) = Client::of_folder(folder) else {
        return Ok(false);
    };
    match client.wallets().await {
        // The daemon opened the key when it started, or left it closed.
        Ok(view) if view.key_open || !verify => {
            let shown = view::Shown::of_daemon(folder, view, verify);
            answer.show(&shown, view::Shown::text).map(|()| true)
        }
        _ => Ok(false),
    }
}

pub(super) fn perform(
    arguments: &WalletArgs,
    folder: &Path,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    let mut session = Session {
        folder,
        access: &arguments.access,
        ask: Ask::of_process(),
    };
    match &arguments.command {
        WalletCommand::Generate {
            words,
            phrase,
            written_down,
            replace,
        } => session.generate(*words, phrase, *written_down, replace, answer),
        WalletCommand::Recover { phrase, replace } => session.recover(phrase, replace, answer),
        WalletCommand::Import { keystore, replace } => {
            session.import(keystore.as_deref(), replace, answer)
        }
        WalletCommand::Show { verify } => session.show(*verify, answer),
        WalletCommand::Export {
            to,
            new_password_file,
        } => session.export(to, new_password_file.as_deref(), answer),
        WalletCommand::SetEarning { address } => session.set_earning(address, answer),
        WalletCommand::ChangePassword {
            new_password_file,
            to_key_file,
        } => session.change_password(new_password_file.as_deref(), *to_key_file, answer),
    }
}

/// One command: where it works, and how it asks.
struct Session<'a> {
    folder: &'a Path,
    access: &'a Access,
    ask: Ask,
}

impl Session<'_> {
    /// What opens the folder, asked for where needed. A folder without a vault
    /// gets one, locked by this.
    fn unlock(&mut self) -> Result<Unlock, Failure> {
        let by_file = self.access.no_password || self.access.key_file.is_some();
        let key_file = || {
            let named = self.access.key_file.clone();
            Unlock::KeyFile(named.unwrap_or_else(|| self.folder.join(KEY_FILE)))
        };
        // First, so that a password for a folder that has none is an error.
        if let Some(file) = &self.access.password_file {
            return Ok(Unlock::Password(Password::from_file(file)?));
        }
        let lock = vault::lock_of(self.folder)?;
        if lock == Some(Lock::KeyFile) || by_file {
            return Ok(key_file());
        }
        let password = if lock.is_some() {
            Password::new(&self.ask.secret("Password of the data folder")?)
        } else {
            self.ask.new_password("New password for the data folder")?
        };
        Ok(Unlock::Password(password))
    }

    fn data(&self) -> Result<DataDir, Failure> {
        Ok(DataDir::open(self.folder).map_err(WalletError::from)?)
    }

    /// The folder, opened; what it lacks is made.
    fn keeper(&mut self) -> Result<Keeper, Failure> {
        let data = self.data()?;
        let unlock = self.unlock()?;
        Ok(Keeper::open_or_create(data, unlock)?)
    }

    /// The folder, opened; one without a vault has no wallet.
    fn existing(&mut self) -> Result<Keeper, Failure> {
        if vault::lock_of(self.folder)?.is_none() {
            return Err(WalletError::NoConsuming.into());
        }
        let data = self.data()?;
        let unlock = self.unlock()?;
        Ok(Keeper::open(data, unlock)?)
    }

    fn passphrase(&mut self, phrase: &PhraseArgs, new: bool) -> Result<Zeroizing<String>, Failure> {
        match (phrase.passphrase, new) {
            (false, _) => Ok(Zeroizing::default()),
            (true, false) => self.ask.secret("Passphrase of the words"),
            (true, true) => self.ask.secret_twice("Passphrase to go with the words"),
        }
    }

    fn generate(
        &mut self,
        words: usize,
        phrase_args: &PhraseArgs,
        written_down: bool,
        replace: &Replace,
        answer: &mut Answer<'_>,
    ) -> Result<(), Failure> {
        if !written_down && !self.ask.is_terminal() {
            return Err(Failure::new(
                code::USAGE,
                "the words would be shown to nobody who could write them down",
                "Run this in a terminal; or add --written-down, and keep what is printed."
                    .to_owned(),
            ));
        }
        let keeper = self.keeper()?;
        keeper.check_free(replace.replace)?;
        let passphrase = self.passphrase(phrase_args, true)?;
        let phrase = Phrase::generate(words).map_err(WalletError::from)?;
        let wallets = phrase.wallets(&passphrase).map_err(WalletError::from)?;
        // Before anything is kept: a wallet whose words nobody has is a trap.
        if !written_down {
            self.ask
                .show_words(&phrase.words(), phrase_args.passphrase)?;
        }
        let earning = Some(wallets.earning.address());
        let kept = keeper.keep(&wallets.consuming, earning, replace.replace)?;
        // Where the words were shown and confirmed they are not repeated: answers get stored.
        let words = written_down.then(|| phrase.words());
        answer.show(
            &view::Made::new(&kept, self.folder, words),
            view::Made::text,
        )
    }

    fn recover(
        &mut self,
        phrase_args: &PhraseArgs,
        replace: &Replace,
        answer: &mut Answer<'_>,
    ) -> Result<(), Failure> {
        let keeper = self.keeper()?;
        keeper.check_free(replace.replace)?;
        let words = self.ask.secret("The words, parted by spaces")?;
        let phrase = Phrase::parse(&words).map_err(WalletError::from)?;
        let passphrase = self.passphrase(phrase_args, false)?;
        let wallets = phrase.wallets(&passphrase).map_err(WalletError::from)?;
        let earning = Some(wallets.earning.address());
        let kept = keeper.keep(&wallets.consuming, earning, replace.replace)?;
        answer.show(&view::Made::new(&kept, self.folder, None), view::Made::text)
    }

    fn import(
        &mut self,
        file: Option<&Path>,
        replace: &Replace,
        answer: &mut Answer<'_>,
    ) -> Result<(), Failure> {
        let keeper = self.keeper()?;
        keeper.check_free(replace.replace)?;
        let wallet = match file {
            Some(path) => {
                let file = read_keystore(path)?;
                let password = Password::new(&self.ask.secret("Password of the keystore file")?);
                keystore::read(&file, &password).map_err(|source| unusable(path, source))?
            }
            None => {
                let key = self.ask.secret("Private key, in hexadecimal")?;
                ConsumingWallet::from_hex(&key).map_err(WalletError::from)?
            }
        };
        let kept = keeper.keep(&wallet, None, replace.replace)?;
        answer.show(&view::Made::new(&kept, self.folder, None), view::Made::text)
    }

    fn show(&mut self, verify: bool, answer: &mut Answer<'_>) -> Result<(), Failure> {
        let Some(lock) = vault::lock_of(self.folder)? else {
            // Stores without their vault, or a key: there are wallets, and nothing opens them.
            let unlock = Unlock::KeyFile(self.folder.join(KEY_FILE));
            if let Err(error @ VaultError::Missing { .. }) = vault::open(self.folder, &unlock) {
                return Err(error.into());
            }
            return answer.show(&view::Shown::nothing(self.folder), view::Shown::text);
        };
        let keeper = self.existing()?;
        let (consuming, earning) = if verify {
            let wallets = keeper.load()?;
            (
                wallets.consuming.map(|wallet| wallet.address()),
                wallets.earning,
            )
        } else {
            keeper.addresses()?
        };
        let shown = view::Shown::new(self.folder, lock, consuming, earning, verify);
        answer.show(&shown, view::Shown::text)
    }

    fn export(
        &mut self,
        to: &Path,
        new_password_file: Option<&Path>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Failure> {
        let keeper = self.existing()?;
        if keeper.addresses()?.0.is_none() {
            return Err(WalletError::NoConsuming.into());
        }
        // Before anything is asked.
        if to.symlink_metadata().is_ok() {
            return Err(Failure::new(
                code::CANT_CREATE,
                format!(
                    "{} is there already, and nothing is written over",
                    to.display()
                ),
                "Name a file that is not there yet.".to_owned(),
            ));
        }
        let password = match new_password_file {
            Some(file) => Password::from_file(file)?,
            None => self.ask.new_password("Password for the exported file")?,
        };
        let address = keeper.export(to, &password)?;
        answer.show(&view::Exported::new(address, to), view::Exported::text)
    }

    fn set_earning(&mut self, text: &str, answer: &mut Answer<'_>) -> Result<(), Failure> {
        let written = parse_address(text)
            .map_err(|error| Failure::new(code::USAGE, format!("{error}."), None))?;
        let keeper = self.keeper()?;
        keeper.set_earning(written.address)?;
        answer.show(&view::EarningSet::new(&written), view::EarningSet::text)
    }

    fn change_password(
        &mut self,
        new_password_file: Option<&Path>,
        to_key_file: bool,
        answer: &mut Answer<'_>,
    ) -> Result<(), Failure> {
        if vault::lock_of(self.folder)?.is_none() {
            let error = VaultError::None {
                folder: self.folder.to_owned(),
            };
            return Err(error.into());
        }
        let mut keeper = self.existing()?;
        let new = if to_key_file {
            Unlock::KeyFile(self.folder.join(KEY_FILE))
        } else {
            Unlock::Password(match new_password_file {
                Some(file) => Password::from_file(file)?,
                None => self.ask.new_password("New password for the data folder")?,
            })
        };
        keeper.change_lock(new)?;
        let lock = if to_key_file {
            Lock::KeyFile
        } else {
            Lock::Password
        };
        answer.show(&view::LockChanged::new(lock), view::LockChanged::text)
    }
}

/// A keystore file of somebody else's making: its permissions are not ours to
/// judge.
fn read_keystore(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read as _;
    let failed = |source: std::io::Error| {
        let what = format!("{} can't be read: {source}", path.display());
        Failure::new(code::CANT_CREATE, what, None)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .map_err(failed)?
        // One more than allowed, so that a longer file is refused and not cut.
        .take(MAX_KEYSTORE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

fn unusable(path: &Path, source: KeystoreError) -> Failure {
    WalletError::Keystore {
        path: path.to_owned(),
        source,
    }
    .into()
}
