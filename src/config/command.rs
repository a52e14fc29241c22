//! The command line of `masqd`, built from the table of settings.

use clap::{Arg, ArgAction, Command, builder::styling};

use super::table::{Default, Heading, SETTINGS, Setting, Shape};

/// What `masqd` was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the node.
    Run,
    /// Check the configuration and say whether it can be used.
    Check,
    /// Print the configuration that would be used, as a file.
    Print,
}

pub(super) const CONFIG: &str = "config";
pub(super) const CHECK: &str = "check-config";
pub(super) const PRINT: &str = "print-config";
pub(super) const STDIN: &str = "exit-with-stdin";

const ABOUT: &str = "The daemon of a MASQ node: joins a mesh of nodes and carries your traffic \
                     privately through it.";

const LONG_ABOUT: &str = "\
The daemon of a MASQ node: joins a mesh of nodes and carries your traffic privately through it.

Your programs talk to a SOCKS5 or HTTP proxy on this machine. What they send crosses several other \
nodes before it reaches a server; no node on the way knows both you and the server. In turn your \
node carries traffic of others, unless you say otherwise.

It runs in the foreground and logs to standard error. `masq status`, on the same machine, says how \
it is; Ctrl-C or SIGTERM stops it cleanly, a second one at once.";

const EXAMPLES: &str = "\
Examples:
  Make a wallet, join by a node that you were told of, fetch a page through the mesh:
      masq wallet generate --no-password
      masqd --rpc https://RPC/KEY --neighbours masq://base-mainnet:KEY@HOST:6277
      curl --proxy socks5h://127.0.0.1:1080 https://example.org/

  A relay on a server, without proxies of its own:
      masqd --mode serve-only --advertise node.example.org --rpc https://RPC/KEY \\
            --neighbours masq://…

  See what a configuration file comes to, and where each value is from:
      masqd --config /etc/masq/config.toml --print-config

Every setting can be written in three places; later ones win:
  the file     --config FILE, or config.toml in the data folder      hops = 3
  environment  MASQ_ and the name in capitals                        MASQ_HOPS=3
  argument     the name with dashes                                  --hops 3

Exit codes:
   0  stopped as asked                73  a file or folder can't be created, or is damaged
  64  arguments not understood        75  another daemon uses the data folder
  66  a wallet is needed to pay with  77  the password or key file is wrong, or others can
  69  an address is in use                read a file with a secret
  70  a bug in this program           78  the configuration has a problem

The short help is `masqd -h`.";

/// The command line of `masqd`. The name in its usage is the given one.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new("masqd")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_long_help(EXAMPLES)
        .after_help("`masqd --help` says more, with examples.")
        .override_usage("masqd [OPTIONS]")
        .next_line_help(false)
        .max_term_width(100)
        .styles(
            styling::Styles::styled()
                .header(styling::AnsiColor::Green.on_default().bold())
                .literal(styling::AnsiColor::Cyan.on_default()),
        )
        .arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .value_name("FILE")
                .help("Read settings from this file [default: config.toml in the data folder]"),
        )
        .arg(
            Arg::new(CHECK)
                .long(CHECK)
                .action(ArgAction::SetTrue)
                .help("Check the configuration and stop"),
        )
        .arg(
            Arg::new(PRINT)
                .long(PRINT)
                .action(ArgAction::SetTrue)
                .conflicts_with(CHECK)
                .help("Print the configuration that would be used, and stop"),
        )
        .arg(
            Arg::new(STDIN)
                .long(STDIN)
                .action(ArgAction::SetTrue)
                .hide(true)
                .help("Stop cleanly when standard input closes"),
        );
    for heading in Heading::ALL {
        for setting in SETTINGS.iter().filter(|s| s.heading == *heading) {
            command = command.arg(argument(setting));
        }
    }
    command
}

fn argument(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        Default::Text(text) => format!(" [default: {text}]"),
        _ => String::new(),
    };
    let long_default = match setting.default {
        Default::Text(text) | Default::Found(text) => format!("[default: {text}]"),
        Default::Unset(text) => format!("[default: {text}]"),
        Default::Empty => "[default: none]".to_owned(),
    };
    let more = if setting.more.is_empty() {
        String::new()
    } else {
        format!("{}\n", setting.more)
    };
    let arg = Arg::new(setting.key)
        .long(setting.argument())
        .value_name(setting.placeholder)
        .help_heading(setting.heading.title())
        .help(format!("{}{default}", setting.help))
        .long_help(format!("{}\n\n{more}{long_default}", setting.help));
    match setting.shape {
        Shape::One | Shape::Number => arg.action(ArgAction::Set),
        Shape::List(_) => arg.action(ArgAction::Append),
        Shape::Switch => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn help_names_every_setting_with_its_default() {
        let short = command().render_help().to_string();
        let long = command().render_long_help().to_string();
        for setting in SETTINGS {
            let argument = format!("--{}", setting.argument());
            assert!(short.contains(&argument), "{argument} in -h");
            assert!(long.contains(&argument), "{argument} in --help");
            if let Default::Text(default) = setting.default {
                assert!(
                    long.contains(&format!("[default: {default}]")),
                    "{argument}: {default}"
                );
            }
        }
        for heading in Heading::ALL {
            assert!(long.contains(heading.title()), "{}", heading.title());
        }
        assert!(!long.contains(STDIN), "a switch for other programs");
    }
}
