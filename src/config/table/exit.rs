//! The settings about being an exit.

use super::{
    COMMA_OR_LINE, COMMA_OR_SPACE, Default, Heading, MAX_CONNECTIONS, Setting, Shape, Shown, large,
};
use crate::config::{foreign, values};

/// How many there are.
pub(super) const COUNT: usize = 5;

/// Going out to servers for others.
pub(super) const SETTINGS: [Setting; COUNT] = [
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
];
