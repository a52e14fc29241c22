//! The settings about what clients talk to.

use super::{Default, Heading, MAX_CONNECTIONS, Setting, Shape, Shown, large};
use crate::config::values;

/// How many there are.
pub(super) const COUNT: usize = 5;

/// The proxies for programs on this machine.
pub(super) const SETTINGS: [Setting; COUNT] = [
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
];
