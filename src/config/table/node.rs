//! The settings about the node and its neighbours.

use super::{
    COMMA_OR_SPACE, Default, Heading, MAX_NEIGHBOURS, SPACE, Setting, Shape, Shown, path, small,
};
use crate::config::{
    foreign,
    values::{self, Advertise, Country, MappingProtocol, Wallet},
};

/// How many there are.
pub(super) const COUNT: usize = 14;

/// Who the node is, where it is, and whom it knows.
pub(super) const SETTINGS: [Setting; COUNT] = [
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
        default: Default::Unset(
            "what the router says, the address of `listen`, or this machine's if it is public",
        ),
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
];
