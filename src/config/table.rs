//! The one table of settings: key, default, how it is read and shown, and what
//! it means. `masqd --help`, `--print-config`, the file reader, the environment
//! reader and `docs/operator/configuration.md` all come from here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

mod money;

use super::{
    Config, foreign,
    values::{self, Advertise, BadValue, Country, LogFormat, MappingProtocol, Wallet},
};

/// Neighbours a node may have (from the specification); limits per place can't
/// usefully be larger.
const MAX_NEIGHBOURS: u64 = 5;
/// Worker threads; more than this brings nothing (guess).
const MAX_THREADS: u64 = 64;
/// Longest wait for open flows at a stop: an hour (guess).
const MAX_DRAIN_SECONDS: u64 = 3600;
/// Warm circuits cost others memory and keep no use beyond this (guess).
const MAX_WARM_CIRCUITS: u64 = 8;
/// Most connections of either kind: what a process may open on usual systems.
const MAX_CONNECTIONS: u64 = 65_536;
/// Most items in a setting that is a list (guess; a policy of Tor's has about
/// a hundred lines).
pub(super) const MAX_ITEMS: usize = 512;

/// Groups of settings, in the order of `masqd --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// Who the node is and whom it knows.
    Node,
    /// What clients talk to.
    Proxies,
    /// How circuits are chosen.
    Circuits,
    /// What an exit does.
    Exit,
    /// Running the daemon.
    Daemon,
    /// Paying and being paid.
    Money,
}

impl Heading {
    /// Every group.
    pub const ALL: &[Self] = &[
        Self::Node,
        Self::Proxies,
        Self::Circuits,
        Self::Exit,
        Self::Daemon,
        Self::Money,
    ];

    /// As a title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Node => "The node and its neighbours",
            Self::Proxies => "Proxies for your programs",
            Self::Circuits => "Circuits",
            Self::Exit => "Being an exit",
            Self::Daemon => "The daemon",
            Self::Money => "Payments",
        }
    }
}

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// `true` or `false`; as an argument, its bare name means `true`.
    Switch,
    /// A number; in a file it may stand without quotes.
    Number,
    /// Several values. In a file: an array. As an argument: repeated, or
    /// several in one, parted by the given characters. In the environment: the
    /// same in one variable.
    List(&'static [char]),
}

/// Parts lists of addresses.
const COMMA_OR_SPACE: Shape = Shape::List(&[',', ' ', '\n', '\t']);
/// Parts descriptors, which may contain commas.
const SPACE: Shape = Shape::List(&[' ', '\n', '\t']);
/// Parts policy rules, which contain spaces.
const COMMA_OR_LINE: Shape = Shape::List(&[',', '\n']);

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This text, read like any other value.
    Text(&'static str),
    /// An empty list.
    Empty,
    /// Nothing; the words say what that means.
    Unset(&'static str),
    /// Found out at start; the words say how.
    Found(&'static str),
}

/// A value as someone wrote it, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// A single text.
    One(String),
    /// A list, already parted.
    Many(Vec<String>),
}

impl Given {
    fn one(&self) -> Result<&str, BadValue> {
        match self {
            Self::One(text) => Ok(text),
            Self::Many(_) => Err(BadValue::new(
                "This is a list, and one value is needed.",
                "Write the value without brackets.",
            )),
        }
    }

    fn each<T>(&self, read: impl Fn(&str) -> Result<T, BadValue>) -> Result<Vec<T>, BadValue> {
        let items: &[String] = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(items) => items,
        };
        if items.len() > MAX_ITEMS {
            return Err(BadValue::new(
                format!("This list has {} items.", items.len()),
                format!("Give at most {MAX_ITEMS}."),
            ));
        }
        items.iter().map(|item| read(item)).collect()
    }
}

/// How a value is shown: the inverse of reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not set.
    Nothing,
    /// In quotes.
    Text(String),
    /// Without quotes.
    Bare(String),
    /// An array of quoted texts.
    List(Vec<String>),
}

impl Shown {
    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn bare(value: impl ToString) -> Self {
        Self::Bare(value.to_string())
    }

    fn option(value: Option<&impl ToString>) -> Self {
        value.map_or(Self::Nothing, |value| Self::Text(value.to_string()))
    }

    fn path(value: Option<&Path>) -> Self {
        value.map_or(Self::Nothing, |path| Self::text(path.display()))
    }

    fn off(value: Option<impl ToString>) -> Self {
        Self::Text(value.map_or_else(|| "off".to_owned(), |value| value.to_string()))
    }

    fn list<T: ToString>(values: &[T]) -> Self {
        Self::List(values.iter().map(ToString::to_string).collect())
    }
}

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name in the file, in words joined by underscores. With dashes it is
    /// the argument, in capitals and with `MASQ_` in front the environment
    /// variable.
    pub key: &'static str,
    /// The group it belongs to.
    pub heading: Heading,
    /// What stands for the value in help.
    pub placeholder: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is when nobody sets it.
    pub default: Default,
    /// One line.
    pub help: &'static str,
    /// What else there is to know: units, bounds, consequences.
    pub more: &'static str,
    pub(super) set: fn(&mut Config, &Given) -> Result<(), BadValue>,
    pub(super) show: fn(&Config) -> Shown,
}

impl Setting {
    /// The argument, without the two dashes.
    #[must_use]
    pub fn argument(&self) -> &'static str {
        static NAMES: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
            SETTINGS
                .iter()
                .map(|row| (row.key, row.key.replace('_', "-")))
                .collect()
        });
        NAMES.get(self.key).map_or(self.key, String::as_str)
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("MASQ_{}", self.key.to_ascii_uppercase())
    }

    /// The default as a person reads it.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        match self.default {
            Default::Text(text) | Default::Unset(text) | Default::Found(text) => text,
            Default::Empty => "none",
        }
    }
}

/// The setting of that key.
#[must_use]
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting, by group.
pub static SETTINGS: &[Setting] = &{
    let mut all = [GENERAL[0]; GENERAL.len() + money::COUNT];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at.checked_sub(GENERAL.len()) {
            Some(at) => money::SETTINGS[at],
            None => GENERAL[at],
        };
        at += 1;
    }
    all
};

/// Those of every group but the last.
const GENERAL: &[Setting] = &[
    Setting {
        key: "chain",
        heading: Heading::Node,
        placeholder: "CHAIN",
        shape: Shape::One,
        default: Default::Text("base-mainnet"),
        help: "The chain whose network to join",
        more: "One of base-mainnet, base-sepolia, polygon-mainnet, polygon-amoy, eth-mainnet, and \
               dev for a network on your own machine. Nodes of different chains never meet.",
        set: |c, g| {
            c.chain = foreign::chain(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(c.chain),
    },
    Setting {
        key: "data_dir",
        heading: Heading::Node,
        placeholder: "FOLDER",
        shape: Shape::One,
        default: Default::Found("$XDG_DATA_HOME/masq, or ~/.local/share/masq"),
        help: "Where the node keeps its key and what it remembers",
        more: "Created if missing, readable by you alone. Each node needs a folder of its own. If \
               it contains a config.toml and no other file is named, that is the configuration.",
        set: |c, g| {
            c.data_dir = path(g.one()?, "a folder")?;
            Ok(())
        },
        show: |c| Shown::text(c.data_dir.display()),
    },
    Setting {
        key: "mode",
        heading: Heading::Node,
        placeholder: "MODE",
        shape: Shape::One,
        default: Default::Text("standard"),
        help: "What this node does for itself and for others",
        more: "standard: your programs use the mesh, and you carry traffic of others. \
               originate-only: the same, without accepting connections from outside (for machines \
               behind a router). consume-only: you use the mesh and carry nothing. serve-only: you \
               carry traffic, and have no proxies of your own. zero-hop: no mesh; the proxies go \
               straight out, without any privacy, for trying things.",
        set: |c, g| {
            c.mode = g.one()?.parse()?;
            Ok(())
        },
        show: |c| Shown::text(c.mode),
    },
    Setting {
        key: "neighbours",
        heading: Heading::Node,
        placeholder: "DESCRIPTOR",
        shape: SPACE,
        default: Default::Empty,
        help: "Nodes to join the network by",
        more: "Descriptors look like masq://base-mainnet:KEY@HOST:PORT; get one from someone who \
               runs a node (they type: masq descriptor). Needed for the first start only: after \
               that the node remembers neighbours of its own. As an argument: repeat it.",
        set: |c, g| {
            c.neighbours = g.each(foreign::descriptor)?;
            Ok(())
        },
        show: |c| Shown::list(&c.neighbours),
    },
    Setting {
        key: "listen",
        heading: Heading::Node,
        placeholder: "ADDRESS:PORT",
        shape: COMMA_OR_SPACE,
        default: Default::Text("0.0.0.0:6277"),
        help: "Where to accept connections from other nodes",
        more: "One address or several; add \"[::]:6277\" for IPv6. Let the port through your \
               firewall. Unused in the modes that accept no connections. Port 0 takes any free port.",
        set: |c, g| {
            c.listen = g.each(values::address)?;
            Ok(())
        },
        show: |c| Shown::list(&c.listen),
    },
    Setting {
        key: "source",
        heading: Heading::Node,
        placeholder: "ADDRESS",
        shape: Shape::One,
        default: Default::Unset("the address of `listen`, when that is a particular one"),
        help: "Which of this machine's addresses links to other nodes leave from",
        more: "For machines with several addresses: other nodes take one neighbour per address, and \
               go by what they see. Connections of an exit to servers are not meant.",
        set: |c, g| {
            c.source = Some(values::ip(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.source.as_ref()),
    },
    Setting {
        key: "advertise",
        heading: Heading::Node,
        placeholder: "HOST[:PORT]",
        shape: Shape::One,
        default: Default::Unset("the address of `listen`, when that is a particular one"),
        help: "Your public address or DNS name, for the descriptor",
        more: "It goes into the descriptor that you hand out, and nowhere else: it is never \
               gossiped.",
        set: |c, g| {
            c.advertise = Some(g.one()?.parse::<Advertise>()?);
            Ok(())
        },
        show: |c| Shown::option(c.advertise.as_ref()),
    },
    Setting {
        key: "mapping_protocol",
        heading: Heading::Node,
        placeholder: "PROTOCOL",
        shape: Shape::One,
        default: Default::Text("auto"),
        help: "How to ask a router at home to let other nodes through",
        more: "auto: PCP, NAT-PMP and UPnP, in that order; pcp, pmp or igdp: that one only; off: not \
               at all. Asked only when the node accepts connections, has a private address and no \
               `advertise`, and not on chain dev. The mapping is renewed while the node runs and removed when it stops. \
               See home.md.",
        set: |c, g| {
            c.mapping_protocol = g.one()?.parse::<MappingProtocol>()?;
            Ok(())
        },
        show: |c| Shown::text(c.mapping_protocol),
    },
    Setting {
        key: "check_reachability_of_others",
        heading: Heading::Node,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("true"),
        help: "Tell neighbours who ask whether they can be dialled",
        more: "Only the address that a neighbour's connection comes from is dialled, and seldom.",
        set: |c, g| {
            c.check_reachability_of_others = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.check_reachability_of_others),
    },
    Setting {
        key: "country",
        heading: Heading::Node,
        placeholder: "XX",
        shape: Shape::One,
        default: Default::Unset("not claimed"),
        help: "The country this node says it is in",
        more: "Two letters. Others may prefer or avoid exits by it; nobody can check it.",
        set: |c, g| {
            c.country = Some(g.one()?.parse::<Country>()?);
            Ok(())
        },
        show: |c| Shown::option(c.country.as_ref()),
    },
    Setting {
        key: "earning_wallet",
        heading: Heading::Node,
        placeholder: "0xADDRESS",
        shape: Shape::One,
        default: Default::Unset("the one that `masq wallet` keeps, if there is one"),
        help: "The wallet that is paid for what this node carries",
        more: "An address; its key is never needed. It is part of the record that the whole \
               neighbourhood sees. Wins over the one that `masq wallet` keeps.",
        set: |c, g| {
            c.earning_wallet = Some(g.one()?.parse::<Wallet>()?);
            Ok(())
        },
        show: |c| Shown::option(c.earning_wallet.as_ref()),
    },
    Setting {
        key: "per_ip",
        heading: Heading::Node,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("1"),
        help: "Most neighbours with one IP address",
        more: "1 to 5. More makes it easier for one machine to surround you.",
        set: |c, g| {
            c.ip_limits.per_ip = small(g.one()?, 1, MAX_NEIGHBOURS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.ip_limits.per_ip),
    },
    Setting {
        key: "per_24",
        heading: Heading::Node,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("2"),
        help: "Most neighbours within one IPv4 /24",
        more: "1 to 5. Private networks, such as a home's or Docker's, are not counted.",
        set: |c, g| {
            c.ip_limits.per_24 = small(g.one()?, 1, MAX_NEIGHBOURS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.ip_limits.per_24),
    },
    Setting {
        key: "per_48",
        heading: Heading::Node,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("2"),
        help: "Most neighbours within one IPv6 /48",
        more: "1 to 5. Private networks are not counted.",
        set: |c, g| {
            c.ip_limits.per_48 = small(g.one()?, 1, MAX_NEIGHBOURS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.ip_limits.per_48),
    },
    Setting {
        key: "socks",
        heading: Heading::Proxies,
        placeholder: "ADDRESS:PORT",
        shape: Shape::One,
        default: Default::Text("127.0.0.1:1080"),
        help: "The SOCKS5 proxy for your programs, or off",
        more: "User name and password, if a program gives any, keep its circuits apart from those \
               of others. Port 0 takes any free port; `masq status` shows which.",
        set: |c, g| {
            c.socks = values::address_or_off(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::off(c.socks),
    },
    Setting {
        key: "http",
        heading: Heading::Proxies,
        placeholder: "ADDRESS:PORT",
        shape: Shape::One,
        default: Default::Text("127.0.0.1:8118"),
        help: "The HTTP proxy for your programs, or off",
        more: "Takes CONNECT and plain requests.",
        set: |c, g| {
            c.http = values::address_or_off(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::off(c.http),
    },
    Setting {
        key: "allow_remote_clients",
        heading: Heading::Proxies,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Let the proxies listen where other machines can reach them",
        more: "Whoever can reach them then uses the mesh in your name. Meant for containers and \
               for networks that you trust.",
        set: |c, g| {
            c.allow_remote_clients = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.allow_remote_clients),
    },
    Setting {
        key: "plaintext",
        heading: Heading::Proxies,
        placeholder: "HOW",
        shape: Shape::One,
        default: Default::Text("flag"),
        help: "What to do about destinations whose traffic the exit can read",
        more: "allow, flag (let through, counted and logged without the destination) or refuse. \
               Goes by the port: 80 and other well-known ports without TLS.",
        set: |c, g| {
            c.plaintext = g.one()?.parse()?;
            Ok(())
        },
        show: |c| Shown::text(c.plaintext),
    },
    Setting {
        key: "max_clients",
        heading: Heading::Proxies,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("4096"),
        help: "Most connections of your programs at a time, per proxy",
        more: "1 to 65536. Further ones wait.",
        set: |c, g| {
            c.max_clients = large(g.one()?, 1, MAX_CONNECTIONS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.max_clients),
    },
    Setting {
        key: "hops",
        heading: Heading::Circuits,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("3"),
        help: "Hops from here to the exit, the exit included",
        more: "1 to 6, or a range such as \"3-4\" from which each circuit draws. With 1 the exit is \
               your neighbour and knows your address and where you go; with 3 no hop knows both. \
               Can be changed while running: masq set hops 4.",
        set: |c, g| {
            c.hops = g.one()?.parse()?;
            Ok(())
        },
        show: |c| {
            if c.hops.min() == c.hops.max() {
                Shown::bare(c.hops)
            } else {
                Shown::text(c.hops)
            }
        },
    },
    Setting {
        key: "warm_circuits",
        heading: Heading::Circuits,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("2"),
        help: "Circuits kept ready ahead of need",
        more: "0 to 8. They make the first byte come sooner.",
        set: |c, g| {
            c.warm_circuits = small(g.one()?, 0, MAX_WARM_CIRCUITS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.warm_circuits),
    },
    Setting {
        key: "exit",
        heading: Heading::Exit,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Let others reach servers from this machine",
        more: "Servers then see this machine's address. Know the law and your provider's terms \
               where you live; exit_policy says what is allowed.",
        set: |c, g| {
            c.exit = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.exit),
    },
    Setting {
        key: "exit_policy",
        heading: Heading::Exit,
        placeholder: "RULE",
        shape: COMMA_OR_LINE,
        default: Default::Empty,
        help: "What an exit lets through: accept and reject rules",
        more: "In Tor's grammar, first match wins: \"accept *:443\", \"reject 192.0.2.0/24:*\", \
               \"reject *:*\". After your rules come the built-in ones. Private, loopback, \
               link-local and metadata addresses are refused unless a rule of yours names them or \
               allow_private is set. See exit-policy.md.",
        set: |c, g| {
            c.exit_policy = g.each(foreign::policy_rule)?;
            Ok(())
        },
        show: |c| Shown::list(&c.exit_policy),
    },
    Setting {
        key: "allow_private",
        heading: Heading::Exit,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Let an exit reach private and loopback addresses",
        more: "Opens this machine and its network to everybody in the mesh. Meant for testnets.",
        set: |c, g| {
            c.allow_private = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.allow_private),
    },
    Setting {
        key: "dns_servers",
        heading: Heading::Exit,
        placeholder: "ADDRESS",
        shape: COMMA_OR_SPACE,
        default: Default::Empty,
        help: "DNS servers that an exit asks; none means the system's",
        more: "Addresses, with :port where it is not 53.",
        set: |c, g| {
            c.dns_servers = g.each(values::dns_server)?;
            Ok(())
        },
        show: |c| Shown::list(&c.dns_servers),
    },
    Setting {
        key: "max_exit_flows",
        heading: Heading::Exit,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("4096"),
        help: "Most connections to servers at a time",
        more: "1 to 65536. Further flows are refused, and their origins try another exit.",
        set: |c, g| {
            c.max_exit_flows = large(g.one()?, 1, MAX_CONNECTIONS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.max_exit_flows),
    },
    Setting {
        key: "password_file",
        heading: Heading::Daemon,
        placeholder: "FILE",
        shape: Shape::One,
        default: Default::Unset("none: a key file is used"),
        help: "A file whose first line is the password of the data folder",
        more: "It opens the wallets and everything else that is kept. The file must be readable by \
               you alone. A new folder gets this password.",
        set: |c, g| {
            c.password_file = Some(path(g.one()?, "a file")?);
            Ok(())
        },
        show: |c| Shown::path(c.password_file.as_deref()),
    },
    Setting {
        key: "key_file",
        heading: Heading::Daemon,
        placeholder: "FILE",
        shape: Shape::One,
        default: Default::Unset("store.key in the data folder"),
        help: "The key file of the data folder, where there is no password",
        more: "32 random bytes, readable by you alone; a new folder makes one. It protects copies \
               of the folder that lack it, and nothing else.",
        set: |c, g| {
            c.key_file = Some(path(g.one()?, "a file")?);
            Ok(())
        },
        show: |c| Shown::path(c.key_file.as_deref()),
    },
    Setting {
        key: "control",
        heading: Heading::Daemon,
        placeholder: "ADDRESS:PORT",
        shape: Shape::One,
        default: Default::Text("127.0.0.1:0"),
        help: "Where `masq` and other local programs reach the daemon",
        more: "With port 0 any free port is taken and written to control.json in data_dir, where \
               `masq` finds it; so several nodes can run on one machine.",
        set: |c, g| {
            c.control = values::address(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(c.control),
    },
    Setting {
        key: "allow_remote_control",
        heading: Heading::Daemon,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Let the control API listen where other machines can reach it",
        more: "It is plain HTTP: whoever sees one request has the token. Prefer an ssh tunnel.",
        set: |c, g| {
            c.allow_remote_control = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.allow_remote_control),
    },
    Setting {
        key: "drain_seconds",
        heading: Heading::Daemon,
        placeholder: "SECONDS",
        shape: Shape::Number,
        default: Default::Text("10"),
        help: "How long a stop waits for open flows",
        more: "0 to 3600. A second SIGTERM or Ctrl-C stops at once.",
        set: |c, g| {
            c.drain = Duration::from_secs(values::number(g.one()?, 0, MAX_DRAIN_SECONDS)?);
            Ok(())
        },
        show: |c| Shown::bare(c.drain.as_secs()),
    },
    Setting {
        key: "threads",
        heading: Heading::Daemon,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("2"),
        help: "Worker threads",
        more: "1 to 64. More helps busy relays and exits on machines with more cores.",
        set: |c, g| {
            c.threads = small(g.one()?, 1, MAX_THREADS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.threads),
    },
    Setting {
        key: "log",
        heading: Heading::Daemon,
        placeholder: "LEVEL",
        shape: Shape::One,
        default: Default::Text("info"),
        help: "How much to log: off, error, warn, info, debug or trace",
        more: "Goes to standard error. Or filters by module, such as \"info,masq::node=debug\". \
               Destinations, addresses, wallets and keys appear at trace only.",
        set: |c, g| {
            c.log = crate::telemetry::LogFilter::parse(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(&c.log),
    },
    Setting {
        key: "log_format",
        heading: Heading::Daemon,
        placeholder: "FORMAT",
        shape: Shape::One,
        default: Default::Text("text"),
        help: "How log lines look: text or json",
        more: "",
        set: |c, g| {
            c.log_format = g.one()?.parse::<LogFormat>()?;
            Ok(())
        },
        show: |c| Shown::text(c.log_format),
    },
    Setting {
        key: "debug_trace",
        heading: Heading::Daemon,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Remember what this node sees as a hop (chain dev only)",
        more: "For `masq-testnet demo`: sizes, digests and neighbours of what passes. Refused on \
               any other chain.",
        set: |c, g| {
            c.debug_trace = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.debug_trace),
    },
];

/// A path that is not empty.
fn path(text: &str, of: &str) -> Result<PathBuf, BadValue> {
    if text.trim().is_empty() {
        let what = format!("An empty path is not that of {of}.");
        return Err(BadValue::new(what, "Write a path."));
    }
    Ok(PathBuf::from(text))
}

/// A number whose bounds fit a byte.
fn small(text: &str, least: u64, most: u64) -> Result<u8, BadValue> {
    let n = values::number(text, least, most)?;
    Ok(u8::try_from(n).expect("the bounds in the table fit a byte"))
}

/// A number whose bounds fit a `usize`.
fn large(text: &str, least: u64, most: u64) -> Result<usize, BadValue> {
    let n = values::number(text, least, most)?;
    Ok(usize::try_from(n).expect("the bounds in the table fit a usize"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_group_unique_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.key), "{} twice", setting.key);
            assert!(
                setting
                    .key
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                setting.key
            );
            assert!(
                !setting.help.ends_with('.'),
                "{}: help is a phrase",
                setting.key
            );
            assert!(
                setting.more.is_empty() || setting.more.ends_with('.'),
                "{}: more is sentences",
                setting.key
            );
        }
        let groups: Vec<_> = SETTINGS.iter().map(|s| s.heading as u8).collect();
        assert!(groups.is_sorted());
    }
}
