//! The settings about money.

use super::{COMMA_OR_SPACE, Default, Heading, Setting, Shape, Shown};
use crate::config::{foreign, money, values};

/// How many there are.
pub(super) const COUNT: usize = 16;

/// Paying for what others carry, and being paid.
pub(super) const SETTINGS: [Setting; COUNT] = [
    Setting {
        key: "payments",
        heading: Heading::Money,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("true"),
        help: "Pay for what others carry, and be paid for what this node carries",
        more: "false: this node pays nobody and asks nobody to pay. It needs no wallet and no RPC \
               endpoint then, and nodes that want to be paid refuse it.",
        set: |c, g| {
            c.payments = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.payments),
    },
    Setting {
        key: "rpc",
        heading: Heading::Money,
        placeholder: "URL",
        shape: COMMA_OR_SPACE,
        default: Default::Empty,
        help: "RPC endpoints of the chain, in the order of preference",
        more: "1 to 8 URLs with http or https, of a node of your own or of a provider. With two or \
               more, nothing is taken for final that only one of them says. Needed unless payments \
               are off.",
        set: |c, g| {
            c.rpc = foreign::rpc(g.each(foreign::rpc_url)?)?;
            Ok(())
        },
        show: |c| Shown::list(&c.rpc),
    },
    Setting {
        key: "rpc_via_mesh",
        heading: Heading::Money,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Ask the RPC endpoints through the mesh",
        more: "The provider then does not see this machine's address beside its wallets. Needs \
               the HTTP proxy (`http`).",
        set: |c, g| {
            c.rpc_via_mesh = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.rpc_via_mesh),
    },
    Setting {
        key: "token",
        heading: Heading::Money,
        placeholder: "0xADDRESS",
        shape: Shape::One,
        default: Default::Unset("the chain's; chain dev has none"),
        help: "The token's contract (chain dev only)",
        more: "Needed there unless payments are off; every other chain has its own built in.",
        set: |c, g| {
            c.token = Some(foreign::address(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.token.as_ref()),
    },
    Setting {
        key: "disperse",
        heading: Heading::Money,
        placeholder: "0xADDRESS",
        shape: Shape::One,
        default: Default::Unset("none: every node is paid by a transaction of its own"),
        help: "A contract that pays many nodes in one transaction",
        more: "Saves fees, and shows everybody who looks at the chain all nodes that one payment \
               went to. It has to move the tokens from the wallet to each of them, as \
               testnet/contracts/Disperse.sol does; one that takes them first does not count as \
               a payment.",
        set: |c, g| {
            c.disperse = Some(foreign::address(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.disperse.as_ref()),
    },
    Setting {
        key: "rates",
        heading: Heading::Money,
        placeholder: "WEI|WEI|WEI|WEI",
        shape: Shape::One,
        default: Default::Text("275000|275000000|550000|550000000"),
        help: "What this node asks for: routing byte|routing package|exit byte|exit package",
        more: "In wei of the token (10^18 wei are one). A package costs its own rate and that of \
               each byte. With the defaults, three hops carry about 850 GB for one MASQ. All zero: \
               for nothing.",
        set: |c, g| {
            c.rates = money::rates(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(money::show_rates(&c.rates)),
    },
    Setting {
        key: "thresholds",
        heading: Heading::Money,
        placeholder: "SIX NUMBERS",
        shape: Shape::One,
        default: Default::Text("1000000000|1200|1200|500000000|21600|500000000"),
        help: "When debts are paid and bans begin: debt|maturity|grace|permanent|interval|unban",
        more: "Amounts in gwei of the token (10^9 are one MASQ), times in seconds. Up to maturity \
               nothing is due; then what is over debt is paid, and over interval that line falls to \
               permanent. A payer who is over the same line grace later is banned, until it owes \
               less than unban.",
        set: |c, g| {
            c.thresholds = money::thresholds(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(c.thresholds),
    },
    Setting {
        key: "price_ceiling",
        heading: Heading::Money,
        placeholder: "WEI|WEI|WEI|WEI",
        shape: Shape::One,
        default: Default::Text("2750000|2750000000|5500000|5500000000"),
        help: "The most that a hop may ask for to be chosen, written as rates",
        more: "Nodes that ask for more, in any of the numbers that would apply, are not used. The \
               default is ten times the usual rates. none: whatever is asked is paid.",
        set: |c, g| {
            c.price_ceiling = money::unless_none(g.one()?, money::rates)?;
            Ok(())
        },
        show: |c| match &c.price_ceiling {
            Some(ceiling) => Shown::text(money::show_rates(ceiling)),
            None => Shown::text("none"),
        },
    },
    Setting {
        key: "credit",
        heading: Heading::Money,
        placeholder: "WEI|WEI|WEI|WEI",
        shape: Shape::One,
        default: Default::Unset("16 MB, 1 GB, 1 GB and 250 MB worth at `rates`"),
        help: "What payers may use before they pay: first|pool|refill per day|quota",
        more: "In wei of the token. first: a wallet that has never paid; pool: all of those \
               together, refilled so much a day; quota: those that come through one neighbour. What \
               was prepaid, and a quarter of what was paid in the last 30 days, comes on top.",
        set: |c, g| {
            c.credit = Some(money::credit(g.one()?)?);
            Ok(())
        },
        show: |c| match &c.credit {
            Some(limits) => Shown::text(money::show_credit(limits)),
            None => Shown::Nothing,
        },
    },
    Setting {
        key: "prepay_budget",
        heading: Heading::Money,
        placeholder: "MASQ",
        shape: Shape::One,
        default: Default::Unset("4"),
        help: "The most that may be prepaid by itself on one day, in MASQ",
        more: "Such as \"0.5\". Hops give strangers little credit; when it runs out, the hop is \
               prepaid. A quarter of the budget is the most that one hop may hold, and is what is \
               lost if it goes away. What else was paid on the day counts as well. 0: nothing is \
               prepaid without being asked for.",
        set: |c, g| {
            c.prepay_budget = Some(money::tokens(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.prepay_budget.map(money::show_tokens).as_ref()),
    },
    Setting {
        key: "gas_cap",
        heading: Heading::Money,
        placeholder: "GWEI",
        shape: Shape::One,
        default: Default::Unset("the chain's, some ten times what is usual"),
        help: "The most for a unit of gas, in gwei",
        more: "Such as \"0.1\". While the chain costs more, payments wait.",
        set: |c, g| {
            c.gas_cap = Some(money::gwei(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.gas_cap.map(money::show_gwei).as_ref()),
    },
    Setting {
        key: "token_price",
        heading: Heading::Money,
        placeholder: "WEI",
        shape: Shape::One,
        default: Default::Unset("the chain's, a guess"),
        help: "What one MASQ is worth, in wei of the chain's coin",
        more: "Only for the rule that the fee of a payment is at most 5 % of it. \"0\" turns the \
               rule off.",
        set: |c, g| {
            c.token_price = Some(money::wei(g.one()?)?);
            Ok(())
        },
        show: |c| Shown::option(c.token_price.as_ref()),
    },
    Setting {
        key: "day_cap",
        heading: Heading::Money,
        placeholder: "MASQ",
        shape: Shape::One,
        default: Default::Text("20"),
        help: "The most that is paid on one day, in MASQ",
        more: "A quarter of it is the most for one hop. What is owed beyond it is paid the day \
               after; days are those of UTC. Whatever goes wrong, no more than this is lost in a \
               day. none: no limit.",
        set: |c, g| {
            c.day_cap = money::unless_none(g.one()?, money::tokens)?;
            Ok(())
        },
        show: |c| Shown::text(c.day_cap.map_or_else(|| "none".into(), money::show_tokens)),
    },
    Setting {
        key: "pay_every",
        heading: Heading::Money,
        placeholder: "TIME",
        shape: Shape::One,
        default: Default::Text("10m"),
        help: "How often debts are held against the thresholds",
        more: "A second to a day: \"90s\", \"10m\", \"1h\".",
        set: |c, g| {
            c.pay_every = money::pay_every(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::text(money::show_time(c.pay_every)),
    },
    Setting {
        key: "settle_on_stop",
        heading: Heading::Money,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Pay what is due and worth its fee when the daemon stops",
        more: "A stop then takes up to half a minute longer.",
        set: |c, g| {
            c.settle_on_stop = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.settle_on_stop),
    },
    Setting {
        key: "dry_run",
        heading: Heading::Money,
        placeholder: "BOOL",
        shape: Shape::Switch,
        default: Default::Text("false"),
        help: "Report payments instead of making them",
        more: "For looking at what would be paid. Nodes that are not paid stop serving after a \
               while.",
        set: |c, g| {
            c.dry_run = values::switch(g.one()?)?;
            Ok(())
        },
        show: |c| Shown::bare(c.dry_run),
    },
];
