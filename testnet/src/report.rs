//! What a person sees: progress while a mesh forms, tables, the lines to try.
//! Everything goes to the writer that is handed in, except the progress bar.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use masq::control::types::Status;

use crate::money::{PAY_EVERY, Terms};
use crate::network::Progress;
use crate::plan::NODE_PORT;
use crate::process::Memory;
use crate::state::NetworkState;
use crate::typed::{Programs, quoted};

/// Time between two plain progress lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(2);
/// Last byte of the address proposed for a node of the user's own: beyond those
/// that a testnet's nodes can have.
const OWN_LAST_BYTE: u8 = 250;
/// SOCKS5 port proposed for it, when the testnet has not taken it.
const OWN_SOCKS: u16 = 1081;
/// Data folder proposed for it.
const OWN_DIR: &str = "/tmp/mine";

/// One line of progress: moving on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    start: Instant,
    last: Option<(Progress, Instant)>,
}

impl ProgressLine {
    /// A line on standard error.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            start: Instant::now(),
            last: None,
        }
    }

    /// Lines that stay, on standard error, also where there is a terminal.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            bar: None,
            start: Instant::now(),
            last: None,
        }
    }

    /// Shows where things stand.
    pub fn show(&mut self, progress: Progress) {
        let text = progress_text(progress, self.start.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            return;
        }
        let now = Instant::now();
        let due = self
            .last
            .is_none_or(|(before, at)| before != progress && now - at >= PLAIN_EVERY);
        if due {
            eprintln!("{text}");
            self.last = Some((progress, now));
        }
    }

    /// Takes the line away, so that other text does not run into it.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}

fn progress_text(p: Progress, elapsed: Duration) -> String {
    format!(
        "forming the mesh: {}/{} up, {} connected, {} with a route ({:.1} s)",
        p.started,
        p.nodes,
        p.connected,
        p.routed,
        elapsed.as_secs_f64()
    )
}

/// One row of the node table.
#[derive(Debug)]
pub struct Row<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// What it said, when it answered.
    pub status: Option<&'a Status>,
    /// Its memory, while it runs.
    pub memory: Option<Memory>,
}

/// Writes the node table.
///
/// # Errors
/// When the writer fails.
pub fn node_table(out: &mut dyn Write, rows: &[Row<'_>]) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<14} {:<25} {:>10} {:>8} {:>9} {:>9}",
        "node", "stage", "neighbours", "circuits", "carried", "memory"
    )?;
    for row in rows {
        let memory = row.memory.map_or_else(|| "-".to_owned(), |m| size(m.now));
        let Some(status) = row.status else {
            let what = if row.memory.is_some() {
                "does not answer"
            } else {
                "gone"
            };
            writeln!(
                out,
                "{:<14} {what:<25} {:>10} {:>8} {:>9} {memory:>9}",
                row.name, "-", "-", "-"
            )?;
            continue;
        };
        let circuits = status.circuits.own + status.circuits.relayed + status.circuits.exits;
        let t = status.traffic;
        let carried = t.sent_bytes + t.received_bytes + t.relayed_bytes + t.exited_bytes;
        writeln!(
            out,
            "{:<14} {:<25} {:>10} {circuits:>8} {:>9} {memory:>9}",
            row.name,
            status.stage,
            status.neighbours.len(),
            size(carried)
        )?;
    }
    Ok(())
}

/// Writes the lines to try after `up`.
///
/// # Errors
/// When the writer fails.
pub fn try_lines(
    out: &mut dyn Write,
    state: &NetworkState,
    programs: &Programs,
) -> std::io::Result<()> {
    let web = format!("localhost:{}", state.web_port);
    if state.socks.is_some() || state.http.is_some() {
        writeln!(out, "Try:")?;
    }
    if let Some(socks) = state.socks {
        writeln!(out, "  curl --socks5-hostname {socks} http://{web}/")?;
        writeln!(
            out,
            "  curl --socks5 {socks} http://127.0.0.1:{}/whoami",
            state.web_port
        )?;
        if state.web_v6 {
            writeln!(
                out,
                "  curl --socks5 {socks} 'http://[::1]:{}/whoami'",
                state.web_port
            )?;
        }
        writeln!(
            out,
            "  curl --proxy socks5h://me:secret@{socks} http://{web}/bytes/1000000 | sha256sum"
        )?;
    }
    if let Some(http) = state.http {
        writeln!(out, "  curl --proxy http://{http} http://{web}/headers")?;
        writeln!(
            out,
            "  curl --proxy http://{http} --proxytunnel http://{web}/slow/20"
        )?;
    }
    writeln!(out, "Directly, for comparison:")?;
    writeln!(out, "  curl http://{web}/whoami")?;
    if let Some(join) = join_line(state) {
        writeln!(out, "A node of your own joins like this:")?;
        let Programs {
            testnet,
            masq,
            masqd,
        } = programs;
        if state.money.is_some() {
            let masq = format!("{masq} --data-dir {OWN_DIR}");
            writeln!(out, "  {masq} wallet generate --no-password")?;
            writeln!(
                out,
                "  {masq} wallet show     # has the consuming wallet's address"
            )?;
            writeln!(
                out,
                "  {testnet} fund{} CONSUMING_WALLET",
                dir_option(state)
            )?;
        }
        writeln!(out, "  {masqd} {join}")?;
    } else {
        writeln!(out, "More nodes of your own join by this descriptor:")?;
        writeln!(out, "  {}", state.seed)?;
    }
    writeln!(
        out,
        "Folder with configurations and logs: {}",
        state.dir.display()
    )
}

/// The option that names this mesh, where it is not the one without a name.
#[must_use]
pub fn dir_option(state: &NetworkState) -> String {
    if state.temporary {
        return String::new();
    }
    format!(" --dir {}", quoted(&state.dir))
}

/// Arguments of a `masqd` that joins with a node of one's own: from an address of this
/// testnet's range that none of its nodes has, with a proxy port beside the
/// client's.
fn join_line(state: &NetworkState) -> Option<String> {
    let IpAddr::V4(ip) = state.nodes.first()?.addr.ip() else {
        return None;
    };
    let [a, b, c, _] = ip.octets();
    let taken = [state.socks, state.http].map(|addr| addr.map(|addr| addr.port()));
    let port = (OWN_SOCKS..).find(|port| !taken.contains(&Some(*port)))?;
    let money = match &state.money {
        None => "--payments=off".to_owned(),
        Some(money) => format!(
            "--rpc {} --token {} --thresholds '{}' --pay-every {}s",
            money.rpc,
            money.token,
            Terms::new(String::new(), money.token).thresholds,
            PAY_EVERY
        ),
    };
    Some(format!(
        "--chain dev {money} --data-dir {OWN_DIR} --listen {a}.{b}.{c}.{OWN_LAST_BYTE}:{NODE_PORT} --socks 127.0.0.1:{port} --http off --neighbours {}",
        state.seed
    ))
}

/// A size for people: `512 B`, `34.1 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::money::MoneyState;
    use crate::plan::{MAX_NODES, Role};
    use crate::process::ProcessId;
    use crate::state::NodeState;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (34_100_000, "34.1 MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    fn programs() -> Programs {
        Programs {
            testnet: "masq-testnet".into(),
            masq: "target/masq".into(),
            masqd: "masq-testnet masqd".into(),
        }
    }

    fn state() -> NetworkState {
        NetworkState {
            supervisor: ProcessId { pid: 1, started: 1 },
            dir: "/d".into(),
            temporary: false,
            socks: Some("127.0.0.1:1081".parse().unwrap()),
            http: Some("127.0.0.1:8119".parse().unwrap()),
            web_port: 4242,
            web_v6: false,
            seed: "masq://dev:k@127.0.0.1:1".into(),
            money: None,
            nodes: vec![],
        }
    }

    #[test]
    fn a_node_of_ones_own_gets_a_free_address_and_port() {
        let mut state = state();
        assert_eq!(join_line(&state), None);
        state.nodes.push(NodeState {
            name: "n01-client".into(),
            role: Role::Client,
            addr: "127.9.8.1:4711".parse().unwrap(),
            key: "k".into(),
            process: state.supervisor,
            data_dir: "/d".into(),
            log: "/l".into(),
            wallets: None,
        });
        let mut out = Vec::new();
        try_lines(&mut out, &state, &programs()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("--listen 127.9.8.250:4711 --socks 127.0.0.1:1082 "),
            "{text}"
        );
        assert!(
            text.contains(&format!("--neighbours {}\n", state.seed)),
            "{text}"
        );
        assert!(text.contains("--payments=off"), "{text}");
        assert!(usize::from(OWN_LAST_BYTE) > MAX_NODES);

        state.money = Some(MoneyState {
            chain: "dev".into(),
            rpc: "http://127.0.0.1:5".into(),
            token: Address::repeat_byte(1),
            disperse: Address::repeat_byte(2),
            since: 1,
        });
        let mut out = Vec::new();
        try_lines(&mut out, &state, &programs()).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "masq-testnet fund --dir /d CONSUMING_WALLET",
            "target/masq --data-dir",
            "wallet generate",
            "masq-testnet masqd --chain dev",
            "--rpc http://127.0.0.1:5 --token 0x01",
            "--thresholds '20|5|600|10|10|10' --pay-every 2s",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_lines_to_try_name_the_real_ports() {
        let state = state();
        let mut out = Vec::new();
        try_lines(&mut out, &state, &programs()).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "--socks5-hostname 127.0.0.1:1081",
            "http://127.0.0.1:8119",
            "localhost:4242",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("[::1]"));
    }

    #[test]
    fn a_node_that_is_gone_has_a_row_too() {
        let mut out = Vec::new();
        node_table(
            &mut out,
            &[Row {
                name: "n01-client",
                status: None,
                memory: None,
            }],
        )
        .unwrap();
        assert!(String::from_utf8(out).unwrap().contains("gone"));
    }
}
