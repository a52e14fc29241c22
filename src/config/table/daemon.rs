//! The settings about running the daemon.

use std::time::Duration;

use super::{Default, Heading, MAX_DRAIN_SECONDS, MAX_THREADS, Setting, Shape, Shown, path, small};
use crate::config::values::{self, LogFormat};

/// How many there are.
pub(super) const COUNT: usize = 9;

/// Files, control, threads and the log.
pub(super) const SETTINGS: [Setting; COUNT] = [
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
